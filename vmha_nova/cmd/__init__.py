"""The programs: parse, build, run."""

import contextlib
import warnings

try:
    from oslo_service import backend
    from oslo_service.backend import exceptions
except ImportError as error:
    # Also where only the commands of openstackclient were asked for, the programs are there.
    raise SystemExit(f"{error}: install the package with what its programs need, as in "
                     "pip install 'vmha-nova[service]'") from None

# futurist loads eventlet where it is installed, and eventlet then complains on every terminal.
warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
# Runs before any module here imports oslo.messaging, which loads oslo.service, which would take
# eventlet by itself.
with contextlib.suppress(exceptions.BackendAlreadySelected):
    backend.init_backend(backend.BackendType.THREADING)
