"""Applications for WSGI servers."""

import contextlib
import warnings

from oslo_service import backend
from oslo_service.backend import exceptions

# futurist loads eventlet where it is installed, and eventlet then complains in every log.
warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
# Runs before any module here imports oslo.messaging, which loads oslo.service, which would take
# eventlet by itself.
with contextlib.suppress(exceptions.BackendAlreadySelected):
    backend.init_backend(backend.BackendType.THREADING)
