"""Requests on their way: the rules every one of them follows, and what their failures mean."""

import contextlib
import re
import ssl

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import session as ks_session
from novaclient import exceptions as nova_exc
from openstack import exceptions as sdk_exc
import requests
import urllib3

from vmha_nova import exception

_CONNECT = 10.0              # seconds; a connection takes no longer, however slow the answer
_LINE = 400                  # characters of somebody else's text that go into a message
_VARIES = r'<[^<>]* object at 0x[0-9a-f]+>:? ?|\(?Request-ID: req-[0-9a-f-]+\)?'

_LIBRARY = (ks_exc.ClientException, sdk_exc.SDKException, nova_exc.ClientException,
            nova_exc.UnsupportedVersion, requests.RequestException,
            urllib3.exceptions.HTTPError, OSError)
_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class Session(ks_session.Session):
    """A given session's token and connections, with a time limit and without a second sending.

    Sending again after 401 stays: that request was refused, and the token is replaced first.
    ``timeout`` is in seconds of silence, not of a whole answer.
    """

    def __init__(self, session, timeout):
        super().__init__(auth=session.auth, session=session.session, verify=session.verify,
                         cert=session.cert, app_name='vmha-nova')
        self._limits = (min(timeout, _CONNECT), timeout)

    def request(self, url, method, **kwargs):
        kwargs.update(connect_retries=0, status_code_retries=0, timeout=self._limits)
        # What Keystone gets by POST is not authenticated, and may follow a redirection.
        act = method not in ('GET', 'HEAD') and kwargs.get('authenticated') is not False
        if act:
            kwargs['redirect'] = False
        response = super().request(url, method, **kwargs)
        if act and 300 <= response.status_code < 400:
            raise exception.OutcomeUnknown(
                f'{method} {url} was answered with a redirection ({response.status_code}), '
                f'which is not followed')
        return response


@contextlib.contextmanager
def reading(what):
    """Translate what goes wrong while an answer is fetched and taken apart: Unreachable."""
    try:
        yield
    except exception.VmhaError:
        raise
    except _LIBRARY as error:
        raise exception.Unreachable(f'{what}: {_line(error)}') from error
    except _SHAPE as error:
        raise exception.Unreachable(
            f'{what}: not the answer expected ({type(error).__name__}: {_line(error)})'
        ) from error


@contextlib.contextmanager
def acting(what, thing):
    """Translate what goes wrong once an act may be on its way; ``thing`` is the id it is about."""
    try:
        yield
    except exception.VmhaError:
        raise
    except nova_exc.ClientException as error:
        raise _act_refusal(what, error.code, _line(error.message or ''),
                           bool(error.request_id), thing) from error
    except Exception as error:  # a fault in a library, too, leaves the outcome unknown
        text = _line(error) or type(error).__name__
        if never_sent(error):
            raise exception.Unreachable(f'{what}: not sent: {text}') from error
        raise exception.OutcomeUnknown(f'{what}: {text}') from error


def read_refusal(what, response, thing=None):
    """The error for an answer to a GET other than 200; ``thing`` is the id asked for."""
    code, said = response.status_code, _said(response)
    # A 404 removes things here, so it must name the thing: a proxy with a wrong path answers 404
    # to everything.
    if code == 404 and thing is not None:
        if thing in said:
            return exception.NotFound(f'{what}: {said}', code)
        return exception.Unreachable(f'{what}: a 404 that is not about {thing}: {said}')
    if 400 <= code < 500 and code not in (408, 429):
        return exception.Rejected(f'{what}: {_refused(code, said)}', code)
    return exception.Unreachable(f'{what}: answered {code}: {said}')


def act_refusal(what, response, thing):
    """The error for an answer to an act that does not confirm it."""
    by_nova = any(name.lower() in ('x-openstack-request-id', 'x-compute-request-id')
                  for name in response.headers)
    return _act_refusal(what, response.status_code, _said(response), by_nova, thing)


def _act_refusal(what, code, said, by_nova, thing):
    text = f'{what}: {_refused(code, said)}'
    # Too many requests: a limiter turned it away before anybody acted on it, and later it may
    # pass. 408 proves nothing: some proxy lost patience, with whom cannot be told.
    if code == 429:
        return exception.Unreachable(text)
    if 400 <= code < 500 and code != 408 and by_nova:
        # Evacuate answers 404 for an unknown target as well.
        if code == 404 and thing in said:
            return exception.NotFound(text, code)
        return exception.Rejected(text, code)
    return exception.OutcomeUnknown(text)


def _refused(code, said):
    if code == 401:
        return f'401, the token was refused: {said}'
    if code == 403:
        return (f'403, {said.rstrip(".")}: the service account lacks the role which that policy '
                f'asks for (admin, unless the policy was changed)')
    return f'{code}: {said}'


def never_sent(error):
    """Whether an error proves that the other side got no byte of the request.

    keystoneauth raises ConnectTimeout for a read timeout as well, so its own types prove nothing.
    The chain is followed by exactly the links the libraries make: further down it can hold errors
    of other requests, which the caller is just handling.
    """
    # Raised while an endpoint or a token is looked for. An HttpError is Keystone's answer then:
    # Nova's own status never becomes an exception of keystoneauth here.
    if isinstance(error, (ks_exc.CatalogException, ks_exc.AuthPluginException,
                          ks_exc.AuthorizationFailure, ks_exc.HttpError)):
        return True
    if isinstance(error, ks_exc.ConnectionError):
        error = error.__context__
    if not isinstance(error, requests.RequestException) or not error.args:
        return False
    reason = getattr(error.args[0], 'reason', error.args[0])
    links = [reason, getattr(reason, 'original_error', None)]
    if isinstance(reason, urllib3.exceptions.SSLError):
        links += reason.args
    return any(isinstance(link, (urllib3.exceptions.NewConnectionError,
                                 urllib3.exceptions.ConnectTimeoutError,
                                 ssl.SSLCertVerificationError)) for link in links)


def _line(text):
    """Some text as one line of bounded length, without what differs each time it is said."""
    text = re.sub(_VARIES, '', str(text))
    return ' '.join(text.split())[:_LINE]


def _said(response):
    """The message in an error's body, whoever wrote it."""
    try:
        body = response.json()
        if 'errors' in body:                                        # Placement
            return _line(body['errors'][0]['detail'])
        return _line(body.get('message') or next(iter(body.values()))['message'])
    except (*_SHAPE, StopIteration):
        return _line(re.sub(r'<[^>]*>', ' ', response.text)) or 'no text'
