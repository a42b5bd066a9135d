"""[fence]: how a dead host is kept from writing."""

from oslo_config import cfg
from oslo_config import types

GROUP = 'fence'
OPTS = [
    cfg.ListOpt('driver', default=['none'], item_type=types.String(choices=[
                    ('none', "the operator's word"),
                    ('storage', "the host's clients are shut out of the Ceph cluster of [ceph]"),
                    ('power', 'the host is switched off, by the parameters in power_file')]),
                help='What makes sure that a host reported down can write no more before its '
                     'instances are started elsewhere: one of them, or "power, storage", where '
                     'a host that cannot be switched off is shut out of its storage.'),
    cfg.BoolOpt('unsafe_without_fence', default=False,
                help="The operator's explicit word, needed with driver = none, and of no "
                     'meaning otherwise: a host that is '
                     'reported down is really dead, and every compute node keeps its instances '
                     'on the same shared storage. If that is wrong, two guests write to one '
                     "disk, or a disk is lost. Right for a test cloud with Nova's fake virt "
                     'driver.'),
    cfg.StrOpt('power_file', default='/etc/vmha/power.conf',
               help='For the driver power: the file with an agent and its parameters for each '
                    'host. It must belong to the user of vmha-engine and have mode 0600.'),
    cfg.FloatOpt('power_timeout', default=15.0, min=1.0,
                 help='Seconds for one call of a fence agent, or one request to Ironic.'),
    cfg.FloatOpt('power_patience', default=20.0, min=1.0,
                 help='Seconds after which a host that is still not known to be off is left to '
                      'the next fence; where there is none, all is tried again, with growing '
                      'pauses. A call that is under way is waited for.'),
]
