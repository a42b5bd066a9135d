"""The OpenAPI document, made of the table of routes and the schemas that requests are held to."""

import re

from vmha_nova.api import answers
from vmha_nova.api import check
from vmha_nova.api import schemas
from vmha_nova import version

OPENAPI = '3.1.0'
_TEXT = dict(type='string')
REFUSALS = {
    400: 'Something in the request is wrong; the detail says what.',
    401: 'No token, or one that Keystone does not accept.',
    403: 'The policy that the detail names does not allow it.',
    404: 'There is no such thing.',
    406: 'There is no such version of the API.',
    409: 'It makes no sense as things are; the detail says why.',
    413: 'The body is too long.',
    415: 'The body is not application/json.',
    503: 'The database or Keystone does not answer.',
}
HEADERS = {
    'x-openstack-request-id': dict(
        description='The id under which the log has this request.', required=True,
        schema=dict(_TEXT, pattern='^req-[0-9a-f-]{36}$')),
}
VERSIONED = {
    check.VERSION_HEADER: dict(
        description='The version of the API that answered.', required=True,
        schema=dict(_TEXT, pattern=f'^{check.SERVICE_TYPE} [0-9]+\\.[0-9]+$')),
    'Vary': dict(required=True, schema=dict(_TEXT, const=check.VERSION_HEADER)),
}
CHALLENGE = {'WWW-Authenticate': dict(
    description='Where Keystone is.', required=True, schema=dict(_TEXT, minLength=1))}


def make(routes):
    """The document, as a dict."""
    paths = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    paths['/healthcheck'] = dict(get=_healthcheck())
    return dict(
        openapi=OPENAPI,
        info=dict(title='vmha_nova', version=check.MAX_VERSION, description=(
            'High availability for virtual machines beside OpenStack Nova. '
            f'vmha-nova {version.version()}. What is written here is a row that the engine '
            'takes up within a second; nothing calls Nova.'),
            license=dict(name='Apache-2.0', identifier='Apache-2.0')),
        servers=[dict(url='/')],
        paths=paths,
        components=dict(
            schemas=answers.SCHEMAS,
            securitySchemes=dict(token={'type': 'apiKey', 'in': 'header',
                                        'name': 'X-Auth-Token'})))


def versioned(route):
    """Whether the microversion counts there."""
    return route.path.startswith('/v1')


def _operation(route):
    headers = dict(HEADERS, **VERSIONED) if versioned(route) else HEADERS
    refused = [400, *route.refusals]
    if versioned(route):
        refused.append(406)
    if route.policy:
        refused += [401, 403, 503]
    if route.body:
        refused += [413, 415]
    made = dict(
        operationId=route.name, summary=route.summary, security=[],
        parameters=[*_path(route), *_query(route), *_header(route)],
        responses={str(status): _answer(status, schema, headers)
                   for status, schema in route.answers.items()})
    for status in sorted(refused):
        shown = dict(HEADERS, **CHALLENGE) if status == 401 else HEADERS
        made['responses'][str(status)] = dict(
            description=REFUSALS[status], headers=shown, content=_json(answers.ref('Error')))
    if route.policy:
        made['security'] = [dict(token=[])]
        made['description'] = f'Policy: {route.policy}.'
    if route.body:
        made['requestBody'] = dict(required=True, content=_json(route.body))
    return made


def _json(schema):
    return {'application/json': dict(schema=schema)}


def _answer(status, schema, headers):
    content = {'text/plain': dict(schema=_TEXT)} if schema is None else _json(schema)
    words = {200: 'Done.', 202: 'Written down; the engine takes it up.'}
    return dict(description=words[status], headers=headers, content=content)


def _path(route):
    return [{'name': name, 'in': 'path', 'required': True, 'schema': schemas.PATHS[name]}
            for name in re.findall('{([a-z_]+)}', route.path)]


def _query(route):
    return [{'name': name, 'in': 'query', 'required': False, 'schema': schema}
            for name, schema in route.query['properties'].items()]


def _header(route):
    if not versioned(route):
        return []
    return [{'name': check.VERSION_HEADER, 'in': 'header', 'required': False,
             'description': 'The version of the API that is wanted; the oldest one without it.',
             'example': f'{check.SERVICE_TYPE} {check.MAX_VERSION}',
             'schema': dict(_TEXT, pattern=check.VERSION_PATTERN)}]


def _healthcheck():
    """What oslo.middleware serves there."""
    content = {kind: dict(schema=schema) for kind, schema in (
        ('text/plain', _TEXT), ('text/html', _TEXT), ('application/json', answers.FREE))}
    return dict(
        operationId='get_healthcheck', security=[], parameters=[],
        summary='Whether this service works, for load balancers.',
        responses={'200': dict(description='It does.', headers=HEADERS, content=content),
                   '503': dict(description='It does not.', headers=HEADERS, content=content)})
