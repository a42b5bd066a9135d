"""The WSGI application: the table of routes in Flask, wrapped in middleware.

From the outside in: the request id, the address a proxy was asked for, what is measured and what
nobody has caught, the health check, the token, the routes.
"""

import datetime
import functools
import http
import json
import logging
import re
import time

import flask
from keystonemiddleware import auth_token
from oslo_context import context
from oslo_middleware import healthcheck
from oslo_middleware import http_proxy_to_wsgi
from oslo_middleware import request_id
from oslo_policy import policy

from vmha_nova.api import check
from vmha_nova.api import errors
from vmha_nova.api.errors import Refused
from vmha_nova.api import openapi
from vmha_nova.api import routes
from vmha_nova.api import schemas
from vmha_nova.api import wire
from vmha_nova.db import pages
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import policies

LOG = logging.getLogger(__name__)
JSON = 'application/json'
HEALTHCHECK = '/healthcheck'

# In the WSGI environment.
ROUTE = 'vmha.route'                    # the path of the route that answers
REACHED = 'vmha.reached'                # auth_token has let the request through
VERSIONED = 'vmha.versioned'            # headers that say which version of the API answers


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def create(conf, store, planner, fence_name, metrics=None, clock=_now):
    """The application.

    :param conf: oslo.config, with [api] and [detection]; the middleware registers what it needs
    :param store: db.store.Store
    :param planner: has .plan(hosts) -> planner.Forecast
    :param fence_name: the fence's driver, to be shown
    :param metrics: has .exposition() -> (bytes, content type) and .observe_request(method,
                    route, status, seconds); None: there are none
    :raises ConfigurationError: it cannot work as it is configured
    """
    worth = model.Policy(trust=conf.detection.trust).worth
    service = wire.Service(store, pages.Pages(store), planner, clock, fence_name, worth, metrics)
    document = functools.lru_cache(lambda: json.dumps(openapi.make(table)).encode())
    table = routes.table(conf.api.max_limit, lambda _call: wire.Answer(document()),
                         metrics is not None)
    inside = _flask(conf, service, table)
    public = {route.path for route in table if not route.policy} | {''}
    served = _Doors(inside, _Token(inside, conf), healthcheck.Healthcheck(None, conf), public)
    made = _Outermost(served, metrics)
    return request_id.RequestId(http_proxy_to_wsgi.HTTPProxyToWSGI(made, conf))


# -- the layers ----------------------------------------------------------------------------------
class _Outermost:
    """Measures requests, and answers for an error that nobody has caught."""

    def __init__(self, app, metrics):
        self._app = app
        self._metrics = metrics

    def __call__(self, environ, start_response):
        begun, status = time.monotonic(), [500]

        def start(line, headers, exc_info=None):
            status[0] = int(line.split(' ', 1)[0])
            return start_response(line, headers, exc_info)
        try:
            return self._app(environ, start)
        except Exception as e:
            return _refuse(environ, start, *errors.explain(e))
        finally:
            if self._metrics is not None:
                self._metrics.observe_request(
                    environ.get('REQUEST_METHOD', ''), environ.get(ROUTE, ''), status[0],
                    time.monotonic() - begun)


class _Doors:
    """Which requests need a token."""

    def __init__(self, open_, locked, health, public):
        self._open = open_
        self._locked = locked
        self._health = health
        self._public = public

    def __call__(self, environ, start_response):
        path = environ.get('PATH_INFO', '')
        if path == HEALTHCHECK:
            environ[ROUTE] = path
            return self._health(environ, start_response)
        return (self._open if path in self._public else self._locked)(environ, start_response)


class _Token:
    """keystonemiddleware's auth_token, whose refusals take the form of all others."""

    def __init__(self, app, conf):
        try:
            self._auth = auth_token.AuthProtocol(self._reached(app),
                                                 dict(oslo_config_config=conf))
        except Exception as e:          # keystoneauth's, of the account, or an IOError of a file
            raise exception.ConfigurationError(f'[keystone_authtoken]: {e}') from e

    @staticmethod
    def _reached(app):
        def reached(environ, start_response):
            environ[REACHED] = True
            return app(environ, start_response)
        return reached

    def __call__(self, environ, start_response):
        said = []

        def start(line, headers, exc_info=None):
            if environ.get(REACHED):
                return start_response(line, headers, exc_info)
            said[:] = [int(line.split(' ', 1)[0]), headers]
        try:
            body = self._auth(environ, start)
        except Exception:
            if environ.get(REACHED):
                raise
            LOG.exception('a token could not be checked')
            return _refuse(environ, start_response, 503, errors.KEYSTONE_AWAY)
        if environ.get(REACHED):
            return body
        status, headers = said
        kept = {k: v for k, v in headers if k.lower() == 'www-authenticate'}
        words = errors.KEYSTONE_AWAY if status == 503 else errors.WORDS.get(status, '')
        return _refuse(environ, start_response, status, words, kept)


def _refuse(environ, start_response, status, detail, headers=None, more=None):
    body = errors.body(environ, status, detail, more).encode()
    start_response(f'{status} {http.HTTPStatus(status).phrase}', [
        ('Content-Type', JSON), ('Content-Length', str(len(body))), *(headers or {}).items()])
    return [body]


# -- the routes ----------------------------------------------------------------------------------
def _flask(conf, service, table):
    app = flask.Flask('vmha_nova.api', static_folder=None)
    app.config.update(PROPAGATE_EXCEPTIONS=True)
    app.url_map.merge_slashes = False
    enforcer = policies.enforcer(conf)
    try:
        enforcer.load_rules()
        enforcer.check_rules(raise_on_violation=True)
    except policy.InvalidDefinitionError as e:
        raise _policy_file(conf, f'{str(e).partition(". ")[0]}: they name a rule that is not '
                                 'there, or themselves') from e
    except Exception as e:              # of oslo.policy for a file that is no such thing
        raise _policy_file(conf, ' '.join(str(e).split())) from e
    for route in table:
        path = re.sub('{([a-z_]+)}', r'<\1>', route.path)
        app.add_url_rule(path, route.name, _View(route, service, enforcer, conf.api.max_body),
                         methods=[route.method], provide_automatic_options=False)
    app.before_request(functools.partial(_limit, conf.api.max_body))
    app.register_error_handler(Exception, _error)
    return app


def _policy_file(conf, problem):
    return exception.ConfigurationError(
        f'[oslo_policy] policy_file {conf.oslo_policy.policy_file}: {problem}')


def _limit(longest):
    # Of a body that says that it is too long, nothing is read.
    if (flask.request.content_length or 0) > longest:
        raise _too_long(longest)


def _too_long(longest):
    return Refused(413, f'The body is longer than {longest} bytes ([api] max_body).')


def _error(error):
    status, detail, headers, more = errors.explain(error)
    environ = flask.request.environ
    return flask.Response(errors.body(environ, status, detail, more), status,
                          dict(environ.get(VERSIONED, ()), **headers), content_type=JSON)


class _View:
    """Serves one route."""

    def __init__(self, route, service, enforcer, longest):
        self._route = route
        self._longest = longest         # bytes of a body
        self._service = service
        self._enforcer = enforcer
        self._defaults = {name: schema['default']
                          for name, schema in route.query['properties'].items()
                          if 'default' in schema}
        self._query = check.validator(route.query)
        self._body = check.validator(route.body) if route.body else None
        self._path = {name: check.validator(schemas.PATHS[name])
                      for name in re.findall('{([a-z_]+)}', route.path)}

    def __call__(self, **path):
        request, route = flask.request, self._route
        request.environ[ROUTE] = route.path
        if openapi.versioned(route):
            version = check.microversion(request.headers.get(check.VERSION_HEADER))
            request.environ[VERSIONED] = {
                check.VERSION_HEADER: f'{check.SERVICE_TYPE} {version}',
                'Vary': check.VERSION_HEADER}
        user = context.RequestContext.from_environ(request.environ)
        allow = functools.partial(_allow, self._enforcer, user)
        if route.policy:
            allow(route.policy)
        root = request.host_url.rstrip('/') + request.script_root
        answer = route.handler(wire.Call(
            service=self._service, user=user, allow=allow, root=root,
            url=root + request.path,
            path={name: check.part(self._path[name], text) for name, text in path.items()},
            query=dict(self._defaults, **check.parameters(
                self._query, request.args.items(multi=True))),
            body=self._read(request)))
        body = answer.body
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body, separators=(',', ':'))
        return flask.Response(body, answer.status, request.environ.get(VERSIONED),
                              content_type=answer.content_type)

    def _read(self, request):
        if self._body is None:
            return None
        if request.mimetype != JSON:
            raise Refused(415, f'The body must be {JSON}, not '
                               f'{check.short(request.mimetype or "nothing")}.')
        text = b''
        while len(text) <= self._longest and (
                more := request.stream.read(self._longest + 1 - len(text))):
            text += more
        if len(text) > self._longest:   # its length was not told
            raise _too_long(self._longest)
        if not text:
            raise Refused(400, 'The body is empty, or came in chunks, which the server does not '
                               'read.')
        value = check.document(text)
        check.against(self._body, value, 'body')
        return value


def _allow(enforcer, user, rule, why=''):
    """Refuse the request unless the user may; ``why`` this is asked, where that is not plain."""
    if enforcer.authorize(rule, {}, user):
        return
    wanted = re.sub(r'rule:([\w:-]+)', lambda m: str(enforcer.rules.get(m[1], m[0])),
                    str(enforcer.rules[rule]))
    where = 'the whole system' if user.system_scope else f'project {user.project_name}'
    raise Refused(403, f'Policy {rule} does not allow this{f" ({why})" if why else ""}: it wants '
                       f'{wanted}, and the token is for the roles '
                       f'{", ".join(user.roles) or "(none)"} on {where}.')
