"""The REST API as plain functions, for scripts and for the commands.

    from keystoneauth1 import loading, session
    vmha = client.Client(session.Session(auth=…))
    for host in vmha.hosts(zone='az1', spare=True):
        print(host['host'], host['load'])

What comes back is the API's own JSON: dicts and lists, times as ISO text in UTC, null as None.
Lists are generators that follow the pages: what is not asked for is not fetched. Everything else
is done when it is called. Nothing is sent twice by itself (a 401 apart, which says that nothing
was done); ``read_retries`` allows that for what only reads, where no connection can be made.
"""

import contextlib
import urllib.parse

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa

SERVICE_TYPE = 'vmha'
API_VERSION = '1.0'
# So many may be asked for in one page; what is more comes in pages as long as the API makes them.
SMALL = 100


class ClientError(Exception):
    """Something did not work; the text is what the server said, and what to do.

    :ivar status: HTTP status, None where there was no answer.
    :ivar detail: what the server said.
    :ivar request_id: to find it in the log of the API.
    """

    hint = ''

    def __init__(self, detail, status=None, request_id=None, hint=None):
        self.status = status
        self.detail = detail
        self.request_id = request_id
        hint = self.hint if hint is None else hint
        super().__init__(f'{detail.rstrip(" .")}: {hint}' if hint else detail)


class BadRequest(ClientError):
    """The server does not take it as it stands."""


class Unauthorized(ClientError):
    """The token is wrong or has expired, or there is none."""

    hint = 'check the credentials (OS_* variables or clouds.yaml), or ask for a new token'


class Forbidden(ClientError):
    """The user lacks a right."""

    hint = ('changes need the role admin, looking needs vmha_reader; see "openstack role '
            'assignment list --names --user YOU"')


class NotFound(ClientError):
    """There is no such thing."""


class Conflict(ClientError):
    """Not possible in the state it is in."""


class Unavailable(ClientError):
    """No answer, or the server cannot answer now: nothing is known of what was asked for."""

    hint = 'try again in a moment; "openstack endpoint list --service vmha" shows where it is'


class ServerError(ClientError):
    """The server made a mistake."""

    hint = 'the log of the API has more'


class NoEndpoint(Unavailable):
    """The catalogue does not know where the API is."""

    hint = ('register it: "openstack service create --name vmha vmha", "openstack endpoint create '
            'vmha public http://HOST:15870"; another region or interface has it, or none')


KINDS = {400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 406: BadRequest,
         409: Conflict, 413: BadRequest, 502: Unavailable, 503: Unavailable, 504: Unavailable}
# Where to look for what was not found, by the noun of the URL.
LISTS = {'hosts': 'vmha host list', 'failures': 'vmha failure list', 'plans': 'vmha host list',
         'recoveries': 'vmha recovery list', 'capacity': 'vmha host list'}


class Client:
    """The API of one cloud.

    :param session: keystoneauth1.session.Session, with its auth.
    :param api_version: the microversion asked for, '1.0' or 'latest'.
    :param read_retries: how often what only reads is tried again where it could not connect.
    :param options: more of keystoneauth1.adapter.Adapter, e.g. service_name, user_agent.
    """

    def __init__(self, session, service_type=SERVICE_TYPE, region_name=None, interface=None,
                 endpoint_override=None, api_version=API_VERSION, read_retries=0, **options):
        version = f'{api_version}.0' if str(api_version).isdecimal() else api_version
        options.setdefault('client_name', 'vmha_nova')
        headers = {'OpenStack-API-Version': f'{SERVICE_TYPE} {version}',
                   'Accept': 'application/json'}
        headers.update(options.pop('additional_headers', {}))
        self.read_retries = read_retries
        self.http = adapter.Adapter(
            session, service_type=service_type, region_name=region_name, interface=interface,
            endpoint_override=endpoint_override, additional_headers=headers, **options)

    # -- hosts ----------------------------------------------------------------------------------
    def hosts(self, **query):
        """Yield hosts; ``query``: filters, sort_key, sort_dir, marker, limit (of all)."""
        return self._list('hosts', 'hosts', query)

    def host(self, host):
        """Return a host."""
        return self._get('hosts', host)['host']

    def set_host(self, host, **values):
        """Change a host's marks (spare, pool, maintenance, maintenance_until, backend)."""
        return self._send('PATCH', {'host': values}, 'hosts', host)['host']

    def load(self, **query):
        """Yield how loaded each host is; ``query`` as in hosts()."""
        return self._list('load', 'load', query)

    def capacity(self, **query):
        """Yield what each host's death would mean; ``query`` as in hosts()."""
        return self._list('capacity', 'capacity', query)

    def capacity_of(self, host):
        """Return the same of one host, with its instances that would have no place."""
        return self._get('capacity', host)['capacity']

    def plan(self, hosts):
        """Return what would be done if these hosts died now."""
        return self._send('POST', {'plan': {'hosts': list(hosts)}}, 'plans')['plan']

    # -- failures -------------------------------------------------------------------------------
    def failures(self, **query):
        """Yield reports that a host is down, newest first; ``query`` as in hosts()."""
        return self._list('failures', 'failures', query)

    def failure(self, failure_id):
        """Return a report."""
        return self._get('failures', failure_id)['failure']

    def report(self, host, **values):
        """Report a host as down (reason, source, detected_at, evidence, force).

        :returns: (failure, whether it is a new report)
        """
        answer = self._request('POST', self._url('failures'),
                               json={'failure': dict(values, host=host)})
        return self._json(answer)['failure'], answer.status_code == 202

    # -- recoveries -----------------------------------------------------------------------------
    def recoveries(self, **query):
        """Yield recoveries, newest first; ``query`` as in hosts()."""
        return self._list('recoveries', 'recoveries', query)

    def recovery(self, recovery_id):
        """Return a recovery with its steps."""
        return self._get('recoveries', recovery_id)['recovery']

    def newest_recovery(self, host):
        """Return the newest recovery of a host, as the list has it, or None."""
        return next(self.recoveries(host=host, sort_key='created_at', sort_dir='desc', limit=1),
                    None)

    def act(self, recovery_id, action):
        """Ask for something to be done to a recovery: approve, abort, retry, release."""
        return self._send('POST', {'action': action}, 'recoveries', recovery_id,
                          'actions')['recovery']

    def moves(self, recovery_id, **query):
        """Yield the moves of a recovery in the order they are sent; ``query`` as in hosts()."""
        return self._list('moves', 'recoveries', query, recovery_id, 'moves')

    # -- the service ----------------------------------------------------------------------------
    def events(self, **query):
        """Yield lines of the journal, newest first; ``query`` as in hosts()."""
        return self._list('events', 'events', query)

    def status(self):
        """Return how the service is: pause, engine, snapshot."""
        return self._get('status')['status']

    def pause(self, reason=''):
        """Let no new recovery begin."""
        return self._send('PUT', {'pause': {'paused': True, 'reason': reason}}, 'pause')['pause']

    def resume(self):
        """Let recoveries begin again."""
        return self._send('PUT', {'pause': {'paused': False}}, 'pause')['pause']

    # -- HTTP -----------------------------------------------------------------------------------
    @staticmethod
    def _url(*parts):
        return '/v1/' + '/'.join(urllib.parse.quote(str(p), safe='') for p in parts)

    def _get(self, *parts, params=None):
        return self._json(self._request('GET', self._url(*parts), params=params,
                                        connect_retries=self.read_retries))

    def _send(self, method, body, *parts):
        return self._json(self._request(method, self._url(*parts), json=body))

    def _list(self, noun, first, query, *more):
        limit = query.get('limit')
        params = {k: _parameter(v) for k, v in query.items() if v is not None}
        if limit is not None and limit > SMALL:
            del params['limit']
        return self._pages(noun, (first, *more), params, limit)

    def _pages(self, noun, parts, params, left):
        while params is not None:
            answer = self._get(*parts, params=params)
            for row in answer[noun]:
                yield row
                if left is not None:
                    left -= 1
                    if left <= 0:
                        return
            params = _next(answer.get(f'{noun}_links', ()))

    def _request(self, method, url, connect_retries=0, **values):
        try:
            answer = self.http.request(url, method, raise_exc=False, status_code_retries=0,
                                       connect_retries=connect_retries, **values)
        except ksa.EndpointNotFound as e:
            raise NoEndpoint(f'the service catalogue has no endpoint of type '
                             f'{self.http.service_type}') from e
        except ksa.ConnectionError as e:
            # What follows is urllib3's own chain of causes.
            words = _first_line(e).partition(': HTTP')[0]
            raise Unavailable(f'the API does not answer ({words})') from e
        except ksa.Unauthorized as e:
            raise Unauthorized(f'Keystone says: {_first_line(e)}', 401) from e
        except ksa.ClientException as e:
            raise ClientError(f'{type(e).__name__}: {_first_line(e)}') from e
        if answer.status_code >= 300:
            raise self._error(answer, url)
        return answer

    @staticmethod
    def _json(answer):
        try:
            return answer.json()
        except ValueError as e:
            raise ServerError(
                f'{answer.url} answers {answer.status_code} with something that is no JSON',
                answer.status_code, hint='is it the endpoint of this API? It ends in no /v1'
            ) from e

    @staticmethod
    def _error(answer, url):
        status, detail = answer.status_code, ''
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, AttributeError):
            error = answer.json()
            error = error['errors'][0] if 'errors' in error else error['error']
            detail = error.get('detail') or error.get('message') or error.get('title') or ''
        kind = KINDS.get(status) or (ServerError if status >= 500 else ClientError)
        noun, hint = url.split('/')[2], None
        if kind is NotFound and noun in LISTS:
            hint = f'see "openstack {LISTS[noun]}"'
        return kind(detail or f'HTTP {status} {answer.reason}', status,
                    answer.headers.get('x-openstack-request-id'), hint)


def _first_line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _parameter(value):
    return str(value).lower() if isinstance(value, bool) else value


def _next(links):
    """The query of the next page, None: there is none. Our own way to the server is kept."""
    for link in links:
        if link['rel'] == 'next':
            return urllib.parse.parse_qsl(urllib.parse.urlsplit(link['href']).query,
                                          keep_blank_values=True)
    return None
