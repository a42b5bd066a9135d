"""What goes wrong, as HTTP: errors become statuses here and nowhere else.

Every error has the form of the API-SIG's guideline:
{"errors": [{"request_id", "code", "status", "title", "detail", "links"}]}.
"""

import http
import json
import logging

from werkzeug import exceptions

from vmha_nova import exception

LOG = logging.getLogger(__name__)
REQUEST_ID = 'openstack.request_id'     # in the WSGI environment, by oslo.middleware

STATUS = {
    exception.NotFound: 404,
    exception.UnknownHost: 404,
    exception.InvalidTransition: 409,
    exception.Unreachable: 409,         # the engine has not written down the cloud yet
    exception.StoreUnavailable: 503,
}
WORDS = {
    401: 'This needs a token that Keystone accepts, in the header X-Auth-Token.',
    404: 'There is nothing at this address.',
    405: 'This address does not take this method.',
    413: 'The body is too long.',
    500: 'An error of this service; its log has more, under this request id.',
    503: 'The database does not answer; the log of this service has more, under this request id.',
}
NOT_STORED = ('The database cannot take this: something in it is too long, or of the wrong kind; '
              'the log of this service has more, under this request id.')
KEYSTONE_AWAY = ('The token cannot be checked: Keystone, or the cache of tokens, does not answer; '
                 'the log of this service has more, under this request id.')


class Refused(Exception):
    """A request is answered with an error of 4xx.

    :param more: further members of the error
    """

    def __init__(self, status, detail, **more):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more


def body(environ, status, detail, more=None):
    """The JSON text of an error."""
    title = http.HTTPStatus(status).phrase
    return json.dumps(dict(errors=[dict(
        request_id=environ.get(REQUEST_ID, ''), status=status,
        code='vmha.' + title.lower().replace(' ', '-').replace("'", ''),
        title=title, detail=detail, links=[], **more or {})]))


def explain(error):
    """The status of an error, its text, headers, and further members; what is ours is logged."""
    if isinstance(error, Refused):
        return error.status, error.detail, {}, error.more
    if isinstance(error, exceptions.HTTPException):
        status = error.code or 500
        allowed = getattr(error, 'valid_methods', None)
        headers = dict(Allow=', '.join(sorted(allowed))) if allowed else {}
        return status, WORDS.get(status, error.description or ''), headers, {}
    if isinstance(error, exception.StoreRefused):       # to try again later does not help
        LOG.error('%s', error)
        return 400, NOT_STORED, {}, {}
    for kind, status in STATUS.items():
        if isinstance(error, kind):
            if status < 500:
                return status, str(error), {}, {}
            LOG.error('%s', error)
            return status, WORDS[status], {}, {}
    LOG.error('a request failed', exc_info=error)
    return 500, WORDS[500], {}, {}
