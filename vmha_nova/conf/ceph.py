"""[ceph]: the cluster that holds the instances' disks."""

from oslo_config import cfg

GROUP = 'ceph'
OPTS = [
    cfg.StrOpt('conf_file', default='/etc/ceph/ceph.conf',
               help="Ceph's configuration file."),
    cfg.StrOpt('user', default='vmha',
               help="The Ceph user of this service, without 'client.'. It needs the caps mon "
                    '\'allow r, allow command "sessions", allow command "osd blocklist", allow '
                    'command "osd down"\', mgr \'allow r\', and for every pool below osd '
                    "'profile rbd-read-only pool=NAME'."),
    cfg.StrOpt('keyring', default='',
               help="The file with that user's key; empty: where the configuration file says."),
    cfg.FloatOpt('timeout', default=10.0, min=1.0,
                 help='Seconds after which a call that the cluster has not answered has failed.'),
    cfg.ListOpt('ephemeral_pools', default=['vms'],
                help="Pools with the instances' own disks (Nova's images_rbd_pool), one or, where "
                     'host groups have their own, several.'),
    cfg.ListOpt('volume_pools', default=['volumes'],
                help="Pools with volumes (Cinder's rbd_pool)."),
    cfg.ListOpt('image_pools', default=['images'],
                help="Pools with boot images (Glance's rbd_store_pool)."),
    cfg.ListOpt('data_pools', default=[],
                help='Pools that hold the contents of images whose header is in one of the pools '
                     "above (rbd_default_data_pool: erasure coded ones, mostly). An instance with "
                     'such an image is not evacuated before its pool is named here.'),
    cfg.StrOpt('hosts_backend', default='',
               help='Where compute nodes without a mark of their own keep the disks of their '
                    "instances: 'rbd:' and the name of the pool, as in rbd:vms. Empty: not known, "
                    'and then such a node neither gives nor takes instances. If it is wrong, Nova '
                    'builds root disks anew from their images, and their data is lost.'),
    cfg.DictOpt('host_addresses', default={},
                help='Addresses on the storage network of compute nodes that hold no OSD and '
                     'whose address there Nova does not tell: host:address. Several addresses of '
                     'a host are joined by a plus sign, IPv6 goes without brackets.'),
    cfg.BoolOpt('fence_range', default=True,
                help="Put a dead host's whole addresses on the blocklist too, not only the "
                     'clients that were seen there. This also stops clients that started after '
                     'the last look, and any new one until the host is let back. An OSD on that '
                     'address goes on, but all clients there are shut out, the modules of a '
                     'manager and object gateways among them.'),
    cfg.IntOpt('fence_seconds', default=31536000, min=3600, max=315360000,
               help='Seconds after which Ceph drops the blocklist entries of clients by itself: '
                    'a year. It must be longer than any host that was fenced can go on '
                    'unnoticed with its old guests.'),
    cfg.FloatOpt('clients_interval', default=10.0, min=1.0,
                 help='Seconds between looks at which clients are connected, and from where.'),
]
