"""[monitor]: what vmha-monitor looks at, and how much it takes to say that a host is down."""

from oslo_config import cfg

GROUP = 'monitor'
OPTS = [
    cfg.FloatOpt('interval', default=2.0, min=0.1,
                 help='Seconds between two rounds of connects to the addresses of a host.'),
    cfg.FloatOpt('retry_interval', default=0.3, min=0.05,
                 help='The same for a host of which no address has answered the last time.'),
    cfg.FloatOpt('connect_timeout', default=1.0, min=0.05,
                 help='Seconds after which a connect counts as lost.'),
    cfg.IntOpt('failures', default=3, min=1,
               help='Rounds without an answer, of the last [monitor] of, that it takes before a '
                    'network of a host counts as silent.'),
    cfg.IntOpt('of', default=4, min=1,
               help='How many of the last rounds are looked at. At least [monitor] failures.'),
    cfg.FloatOpt('window', default=1.0, min=0.0,
                 help='Seconds after an answer or a new heartbeat for which a host is not taken '
                      'for dead, whatever the other channels tell.'),
    cfg.FloatOpt('silent_after', default=6.0, min=0.5,
                 help='Seconds for which nothing may have come back from any address of a host '
                      'before it is taken for dead (its OSDs are down, no heartbeat) or probably '
                      'dead (Ceph has not marked them down yet, or there are none). Where '
                      'connections are refused, [monitor] failures rounds are enough, as that '
                      'is an answer of the machine.'),
    cfg.ListOpt('management_ports', default=['22'], item_type=cfg.types.Port(min=1),
                help='TCP ports on which compute nodes answer on the management network; one '
                     'that answers is enough. A connection is made and closed, with nothing '
                     'said: sshd logs each, so a quieter port is better, as that of libvirtd or '
                     'of an exporter. It must be one that ends with the host, and that does not '
                     'end with nova-compute.'),
    cfg.DictOpt('management_addresses', default={},
                help='Addresses or names on the management network, host:address. Several of a '
                     'host are joined by a plus sign, IPv6 goes without brackets. A host that is '
                     'not named here is looked for at the address Nova tells of it (host_ip).'),
    cfg.ListOpt('storage_ports', default=[], item_type=cfg.types.Port(min=1),
                help='TCP ports on which the addresses of storage_addresses answer. The ports of '
                     'OSDs are known from Ceph, and need not be named.'),
    cfg.DictOpt('storage_addresses', default={},
                help='Addresses or names on the storage network, written as those of '
                     'management_addresses; for hosts without OSDs.'),
    cfg.BoolOpt('icmp', default=False,
                help='Send an ICMP echo to all addresses as well. A host whose kernel answers '
                     'is not dead, whatever has happened to its processes. The group of the '
                     'service must be within net.ipv4.ping_group_range.'),
    cfg.ListOpt('witnesses', default=[],
                help='What shows that this monitor is not cut off itself, as address:port, IPv6 '
                     'in brackets: gateways, switches, other services. One that accepts or '
                     'refuses a connection is enough. Nova and, where the storage is asked, Ceph '
                     'are such witnesses, too, and always.'),
    cfg.FloatOpt('nova_interval', default=5.0, min=0.5,
                 help="Seconds between looks at Nova's list of services. While a host is silent, "
                      'it is looked at at once and again every 0.5 s.'),
    cfg.FloatOpt('ceph_interval', default=5.0, min=0.5,
                 help='The same for the map of the OSDs.'),
    cfg.FloatOpt('heartbeat_silence', default=25.0, min=1.0,
                 help='Seconds without a new heartbeat after which nova-compute counts as down. '
                      "Must be more than twice Nova's report_interval (10 s by default)."),
    cfg.FloatOpt('osd_grace', default=30.0, min=1.0,
                 help="Seconds of silence after which an OSD that is still up proves that its "
                      'host lives: more than it takes Ceph to mark one down that is silent (about '
                      '24 s by default).'),
    cfg.BoolOpt('report_probable', default=True,
                help="Report a host that is 'probably-dead', with the source "
                     'vmha-monitor-probable: [detection] trust says what that is worth; by '
                     'default it waits until missing heartbeats and the OSDs confirm it.'),
    cfg.BoolOpt('report_isolated', default=False,
                help="Report a host that is 'isolated', with the source vmha-monitor-isolated. "
                     'Its guests run: only with a trust of act, and a fence that works, would '
                     'they be evacuated.'),
    cfg.FloatOpt('repeat_interval', default=10.0, min=0.5,
                 help='Seconds after which a report is sent again that the engine has not written '
                      'down.'),
    cfg.FloatOpt('doubt_share', default=0.5, min=0.0, max=1.0,
                 help='Where more than this share of the hosts that answered before, and at least '
                      'two, fall silent within doubt_seconds, wholly or on one network, the '
                      'monitor takes itself for cut off.'),
    cfg.FloatOpt('doubt_seconds', default=60.0, min=0.0,
                 help='For how long. After that, if Nova, Ceph and the witnesses still answer, '
                      'what all channels tell is believed again.'),
    cfg.IntOpt('flap_limit', default=4, min=0,
               help='A host that was gone more often than this within flap_window ...'),
    cfg.FloatOpt('flap_window', default=600.0, min=1.0,
                 help='... seconds ...'),
    cfg.FloatOpt('flap_hold', default=60.0, min=0.0,
                 help='... must be silent for so many seconds before it is taken for dead.'),
    cfg.IntOpt('max_sockets', default=512, min=8,
               help='Connections open at a time; what is more waits its turn.'),
    cfg.PortOpt('metrics_port', default=0,
                help='TCP port on which the monitor answers GET /metrics, at [metrics] listen. '
                     '0: it does not.'),
]
