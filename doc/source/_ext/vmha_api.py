"""The reference of the REST API, made of the OpenAPI document that the service serves.

``.. vmha-api::`` has a section for each kind of thing, with the calls that are made about it, and
``.. vmha-api-objects::`` a table for each object that comes back. ``.. vmha-api-errors::`` is what
the statuses of errors mean.
"""

import vmha_rst
from vmha_rst import literal
from vmha_rst import plain

from vmha_nova.api import openapi
from vmha_nova.api import routes
from vmha_nova.conf import api

OPEN = 'Without a token'
PAGING = ('limit', 'marker')            # the same for all lists; the page says it once
LIMIT = next(opt.default for opt in api.OPTS if opt.name == 'max_limit')


def document():
    """The OpenAPI document of a service that is configured as by default."""
    return openapi.make(routes.table(LIMIT, None, metrics=True))


# -- what a value is -----------------------------------------------------------------------------
def kind(schema):
    """What a value is, in words."""
    if '$ref' in schema:
        name = schema['$ref'].rpartition('/')[2]
        return f':ref:`{name} <vmha-api-{name.lower()}>`'
    if 'anyOf' in schema:
        return ' or '.join(map(kind, schema['anyOf']))
    if 'enum' in schema:
        return 'one of ' + ', '.join(
            'null' if value is None else literal(value) for value in schema['enum'])
    types = schema.get('type', 'anything')
    types = [types] if isinstance(types, str) else types
    return ' or '.join(_kind(one, schema) for one in types)


def _kind(name, schema):
    if name == 'string':
        return 'time' if schema.get('format') == 'date-time' else 'text'
    if name == 'array':
        return f'list of {kind(schema["items"])}' if 'items' in schema else 'list'
    if name == 'object' and isinstance(schema.get('additionalProperties'), dict):
        return f'object of {kind(schema["additionalProperties"])}'
    return name


def limits(schema):
    """What a value must keep to, and what it is by itself, in words."""
    least, most = schema.get('minimum'), schema.get('maximum')
    if least is not None:
        yield f'from {least}' if most is None else f'{least} to {most}'
    for key, what in (('maxLength', ' characters'), ('maxItems', ''), ('maxProperties', '')):
        if key in schema:
            yield f'at most {schema[key]}{what}'
    if 'default' in schema:
        value = schema['default']
        yield f'default {literal(str(value).lower() if isinstance(value, bool) else value)}'


def meaning(schema, needed, asked):
    """What is said of a value: its description, and of a request's what it must keep to."""
    more = '; '.join(['needed'] * needed + list(limits(schema) if asked else ()))
    said = [plain(schema.get('description', '').rstrip('.')), more[:1].upper() + more[1:]]
    return ' '.join(f'{text}.' for text in said if text)


def inside(schema):
    """The object whose members belong in the same table, None: there is none."""
    for one in (schema, schema.get('items', {}), *schema.get('anyOf', ())):
        if 'properties' in one:
            return one
    return None


def rows(schema, prefix='', asked=False):
    """(name, type, meaning) of the members of an object; those of objects in it by their path.

    :param asked: whether it is a request's: then it also says what must be there
    """
    for name, one in schema['properties'].items():
        needed = asked and name in schema.get('required', ())
        yield literal(prefix + name), kind(one), meaning(one, needed, asked)
        if inner := inside(one):
            many = '[]' if 'items' in one else ''
            yield from rows(inner, f'{prefix}{name}{many}.', asked)


def members(schema, title, asked=False):
    """A table of the members of an object."""
    return vmha_rst.table((title, 'What it is', 'What it means'), (28, 27, 45),
                 rows(schema, asked=asked))


# -- the reference -------------------------------------------------------------------------------
def groups(paths):
    """Title -> [(method, path, operation)], in the order of the document."""
    found = {}
    for path, methods in paths.items():
        for method, one in methods.items():
            noun = path.split('/')[2].capitalize() if one['security'] else OPEN
            found.setdefault(noun, []).append((method.upper(), path, one))
    found[OPEN] = found.pop(OPEN)       # last
    return found


def content(one):
    """The schema of a body or an answer, None: it is no JSON."""
    return one['content'].get('application/json', {}).get('schema')


def answer(status, one):
    """What comes back, in a line."""
    schema = content(one)
    if schema is None:
        what = 'text'
    elif 'properties' in schema:
        what = ', '.join(f'{literal(name)}: {shape(value)}'
                         for name, value in schema['properties'].items())
    else:
        what = kind(schema)
    return f'{status}: {what}'


def shape(schema):
    """A list or an object within an answer."""
    inner = inside(schema)
    if inner is None:
        return kind(schema)
    return f'{"list of " if "items" in schema else ""}{vmha_rst.words(inner["properties"])}'


def operation(method, path, one):
    """The lines about one call."""
    yield from vmha_rst.title(f'``{method} {path}``', '~')
    about = plain(one['summary'])
    if one['security']:
        about += f' Policy: {literal(one["description"].split()[1].rstrip("."))}.'
    yield from (about, '')
    query = [p for p in one['parameters'] if p['in'] == 'query' and p['name'] not in PAGING]
    if query:
        yield from members(dict(properties={p['name']: dict(
            p['schema'], **{k: v for k, v in p.items() if k == 'description'})
            for p in query}), 'In the query', asked=True)
    if 'requestBody' in one:
        yield from members(content(one['requestBody']), 'In the body', asked=True)
    good = [answer(*pair) for pair in one['responses'].items() if pair[0] < '400']
    yield from ('Answers with ' + '; '.join(good) + '.', '')
    bad = [status for status in one['responses'] if status >= '400']
    if bad:
        yield from (f'Errors: {", ".join(bad)}.', '')


def reference():
    """The lines of the reference."""
    for noun, calls in groups(document()['paths']).items():
        if noun == OPEN:
            yield from ('.. _no-token:', '')
        yield from vmha_rst.title(noun, '-')
        for call in calls:
            yield from operation(*call)


def objects():
    """The lines about what comes back."""
    for name, schema in document()['components']['schemas'].items():
        yield from (f'.. _vmha-api-{name.lower()}:', '')
        yield from vmha_rst.title(name, '-')
        yield from members(schema, 'Member')


def errors():
    """What the statuses of errors mean."""
    return vmha_rst.table(('Status', 'What it means'), (12, 88), (
        (str(status), plain(text)) for status, text in openapi.REFUSALS.items()))


def setup(app):
    """Called by Sphinx."""
    for name, lines in (('vmha-api', reference), ('vmha-api-objects', objects),
                        ('vmha-api-errors', errors)):
        app.add_directive(name, vmha_rst.directive(lines))
    return {'parallel_read_safe': True}
