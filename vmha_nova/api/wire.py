"""What the handlers are given and give back, and the pages of a list."""

import dataclasses
import json
import typing
import urllib.parse

from vmha_nova.api.errors import Refused
from vmha_nova import exception


@dataclasses.dataclass(frozen=True)
class Service:
    """What all requests have in common."""

    store: typing.Any                   # db.store.Store
    pages: typing.Any                   # db.pages.Pages
    planner: typing.Any                 # .plan(hosts) -> planner.Forecast
    clock: typing.Callable              # () -> aware UTC
    fence: str                          # the name of its driver
    worth: typing.Callable              # source of a report -> act, confirm or ignore
    metrics: typing.Any = None          # .exposition() -> (bytes, content type)


@dataclasses.dataclass(frozen=True)
class Call:
    """One request, checked against the schemas of its route."""

    service: Service
    path: typing.Mapping[str, typing.Any]
    query: typing.Mapping[str, typing.Any]
    body: typing.Any
    url: str                            # of the request, without its query
    root: str                           # of the API: http://controller:15870
    user: typing.Any                    # oslo_context.context.RequestContext
    allow: typing.Callable              # (policy, why it is asked): refuses unless the user may

    @property
    def who(self):
        """The name of the account, for people to read."""
        return self.user.user_name or self.user.user_id or 'somebody'


class Answer(typing.NamedTuple):
    """``body``: what becomes JSON, or JSON as a string, or bytes of ``content_type``."""

    body: typing.Any
    status: int = 200
    content_type: str = 'application/json'


def page(call, name, read, **always):
    """The answer of a list.

    :param read: a method of Pages
    :param always: filters beside those of the query
    """
    filters = dict(call.query)
    limit, marker = filters.pop('limit'), filters.pop('marker', None)
    sort_key, sort_dir = filters.pop('sort_key'), filters.pop('sort_dir')
    try:
        found = read(dict(filters, **always), sort_key, sort_dir, limit + 1, marker)
    except exception.NotFound as e:
        raise Refused(400, f'marker: {e}') from None
    links = ''
    if len(found.texts) > limit:
        query = urllib.parse.urlencode([
            *((k, _text(v)) for k, v in call.query.items() if k != 'marker'),
            ('marker', found.idents[limit - 1])])
        links = json.dumps([dict(rel='next', href=f'{call.url}?{query}')])
        links = f',"{name}_links":{links}'
    return Answer(f'{{"{name}":[{",".join(found.texts[:limit])}]{links}}}')


def _text(value):
    return str(value).lower() if isinstance(value, bool) else value
