"""Nova and Placement, turned into the values of ``vmha_nova.model``; the acts of a recovery."""

from vmha_nova.nova.client import Nova
from vmha_nova.nova.records import ServerList
from vmha_nova.nova.records import ServiceList

__all__ = ['Nova', 'ServerList', 'ServiceList']
