"""The programs: parse, build, run."""

import contextlib

from oslo_service import backend
from oslo_service.backend import exceptions

# Runs before any module here imports oslo.messaging, which loads oslo.service, which would take
# eventlet by itself.
with contextlib.suppress(exceptions.BackendAlreadySelected):
    backend.init_backend(backend.BackendType.THREADING)
