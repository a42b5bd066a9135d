"""Neutron's WSGI application, usable without an L3 plugin. Runs in the lab's environment.

Listing ports touches ``Port.port_forwardings``, which exists only once this model was imported and
the mappers were configured; a plugin that the lab does not have would have done both.
"""

import neutron.db.models.port_forwarding  # noqa: F401
from neutron.wsgi.api import application  # noqa: F401
import sqlalchemy.orm

sqlalchemy.orm.configure_mappers()
