"""[fence]: how a dead host is kept from writing."""

from oslo_config import cfg

GROUP = 'fence'
OPTS = [
    cfg.StrOpt('driver', default='none', choices=[
                   ('none', "the operator's word"),
                   ('storage', "the host's clients are shut out of the Ceph cluster of [ceph]")],
               help='What makes sure that a host reported down can write no more before its '
                    'instances are started elsewhere.'),
    cfg.BoolOpt('unsafe_without_fence', default=False,
                help="The operator's explicit word, needed with driver = none, and of no "
                     'meaning otherwise: a host that is '
                     'reported down is really dead, and every compute node keeps its instances '
                     'on the same shared storage. If that is wrong, two guests write to one '
                     "disk, or a disk is lost. Right for a test cloud with Nova's fake virt "
                     'driver.'),
]
