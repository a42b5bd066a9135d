"""The adapter to Ceph: who writes, who must not any more, and whether the storage is ready."""

from vmha_nova.ceph.client import Ceph
from vmha_nova.ceph.wire import refusing

__all__ = ('Ceph', 'refusing')
