"""Checks what comes in, before anything works with it: JSON, schemas, the microversion."""

import datetime
import json
import math
import re

import jsonschema

from vmha_nova.api.errors import Refused

DEEPEST = 32                            # objects and lists within each other
LARGEST = 2 ** 63                       # integers are smaller: a database has no larger ones
LONGEST, END = 300, 80                  # characters of a message, and of what ends a cut one
YEARS = range(1970, 9999)               # every database has them, in every time zone

SERVICE_TYPE = 'vmha'
MIN_VERSION = MAX_VERSION = '1.0'
VERSION_HEADER = 'OpenStack-API-Version'

_TIME = re.compile(r'\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)', re.ASCII)
_INTEGER = re.compile(r'-?[0-9]{1,19}')
_ONE = r'[a-z][a-z0-9-]* ([1-9][0-9]{0,3}\.[0-9]{1,4}|latest)'
VERSION_PATTERN = f'^{_ONE}( *, *{_ONE})*$'     # other services' may be in it too
_ONE_VERSION = re.compile(_ONE)


# -- JSON ----------------------------------------------------------------------------------------
def document(text):
    """The value of a JSON text (bytes).

    :raises Refused: it is none, or has something in it that no database keeps.
    """
    try:
        value = json.loads(text.decode(), parse_constant=_constant, object_pairs_hook=_object)
    except RecursionError:
        raise Refused(400, f'The body goes deeper than {DEEPEST} levels.') from None
    except UnicodeDecodeError:
        raise Refused(400, 'The body is not UTF-8.') from None
    except ValueError as e:
        raise Refused(400, f'The body is not JSON: {short(e)}') from None
    if problem := _strange(value, 0):
        raise Refused(400, f'The body {problem}.')
    return value


def text(value):
    """A value as JSON, no shorter than what a database keeps of it."""
    return json.dumps(value, separators=(',', ':'))


def _constant(word):
    raise ValueError(f'{word} is no number')


def _object(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('an object has a name twice')
    return found


def _strange(value, depth):
    """What is wrong with a value from JSON, or with something in it; ''."""
    if depth > DEEPEST:
        return f'goes deeper than {DEEPEST} levels'
    if isinstance(value, str):
        if '\0' in value:
            return 'has a NUL character in it'
        try:
            value.encode()
        except UnicodeEncodeError:
            return 'has half a character (a lone surrogate) in it'
    elif isinstance(value, float):
        return '' if math.isfinite(value) else 'has a number in it that is too large'
    elif isinstance(value, int):
        return '' if -LARGEST <= value < LARGEST else 'has a number in it that is too large'
    elif isinstance(value, dict):
        return next(filter(None, (_strange(v, depth + 1) for pair in value.items()
                                  for v in pair)), '')
    elif isinstance(value, list):
        return next(filter(None, (_strange(v, depth + 1) for v in value)), '')
    return ''


# -- schemas -------------------------------------------------------------------------------------
def time(text):
    """The time that a text of RFC 3339 names, aware; None: it names none."""
    if not _TIME.fullmatch(text):
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(datetime.timezone.utc) if found.year in YEARS else None


_formats = jsonschema.FormatChecker(formats=())
_formats.checks('date-time')(lambda value: not isinstance(value, str) or time(value) is not None)


def _pattern(_validator, pattern, instance, _schema):
    # In Python $ also matches before a newline at the end; in ECMA 262, and here, it does not.
    if isinstance(instance, str) and not re.fullmatch(
            pattern.removeprefix('^').removesuffix('$'), instance):
        yield jsonschema.ValidationError('has characters in it that are not allowed here'
                                         if not instance.isprintable()
                                         else f'{instance!r} does not match {pattern!r}')


def _items(validator_, items, instance, schema):
    # Of a list that is too long no member is looked at: there may be hundreds of thousands.
    if isinstance(instance, list) and len(instance) <= schema.get('maxItems', math.inf):
        yield from _plain_items(validator_, items, instance, schema)


_plain_items = jsonschema.Draft202012Validator.VALIDATORS['items']
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator,
                                          dict(pattern=_pattern, items=_items))


def validator(schema):
    """What checks a value against a schema; see against."""
    _Validator.check_schema(schema)
    return _Validator(schema, format_checker=_formats)


def against(validator_, value, where):
    """Raise Refused(400) with what is wrong with the value; ``where``: what it is, in a word."""
    error = jsonschema.exceptions.best_match(validator_.iter_errors(value))
    if error is None:
        return
    at = '.'.join(map(str, error.absolute_path))
    detail = short(f'{where}{" " + at if at else ""}: {error.message}')
    if error.validator == 'additionalProperties':
        detail += f'; known here: {", ".join(error.schema["properties"]) or "none"}'
    raise Refused(400, detail)


def short(text):
    """A text for a message: where it is too long, its middle is left out."""
    text = str(text)
    return text if len(text) <= LONGEST else f'{text[:LONGEST - END]}…{text[-END:]}'


def parameters(validator_, pairs):
    """A query: its (name, text) pairs as a dict of values, checked."""
    properties = validator_.schema['properties']
    found = {}
    for name, text in pairs:
        if name in found:
            raise Refused(400, short(f'query: {name!r} is there twice'))
        found[name] = _value(properties.get(name, {}).get('type'), text)
    against(validator_, found, 'query')
    return found


def part(validator_, text):
    """A part of the path, as a value, checked."""
    value = _value(validator_.schema['type'], text)
    against(validator_, value, 'address')
    return value


def _value(kind, text):
    """A text as what its schema wants; as it is where it is no such thing."""
    if kind == 'integer' and _INTEGER.fullmatch(text):
        return int(text)
    if kind == 'boolean':
        return {'true': True, 'false': False}.get(text.lower(), text)
    return text


# -- the microversion ----------------------------------------------------------------------------
def microversion(header):
    """The version of the API that the header OpenStack-API-Version asks for (None: no header).

    :raises Refused: it cannot be read (400), or there is no such version (406).
    """
    wanted = MIN_VERSION
    for one in header.split(',') if header is not None else ():
        if not _ONE_VERSION.fullmatch(one.strip(' ')):
            raise Refused(400, f'{VERSION_HEADER}: {short(repr(one))} is not like '
                               f'"{SERVICE_TYPE} {MAX_VERSION}" or "{SERVICE_TYPE} latest"')
        service, version = one.split()
        if service == SERVICE_TYPE:
            wanted = MAX_VERSION if version == 'latest' else version
    if wanted != MAX_VERSION:
        raise Refused(406, f'there is no version {wanted} of this API, only {MIN_VERSION}',
                      min_version=MIN_VERSION, max_version=MAX_VERSION)
    return wanted
