"""[storm]: how many hosts may fail before an operator has to say that recoveries may begin."""

from oslo_config import cfg

GROUP = 'storm'


def _most(name, where, default=0, **more):
    return cfg.IntOpt(name, default=default, min=0, help=(
        f'Hosts {where} that may be down at a time. Where more are, recoveries that have not '
        'begun are held, all of them, until few enough are down or an operator approves; what is '
        'under way goes on. Many hosts failing at once is more often a fault of the network or '
        'of the detection than of the hosts. One host alone is never held for this. 0: there is '
        'no limit.'), **more)


def _share(name, where, default=0.0):
    return cfg.FloatOpt(name, default=default, min=0.0, max=100.0, help=(
        f'The same in per cent of the compute nodes {where}, spares among them. 0: there is no '
        'limit.'))


OPTS = [
    _most('max_hosts', 'of the cloud', default=2, deprecated_name='max_recoveries',
          deprecated_group='recovery'),
    _share('max_percent', 'of the cloud', default=50.0),
    _most('max_zone_hosts', 'of one availability zone'),
    _share('max_zone_percent', 'of one availability zone'),
    _most('max_aggregate_hosts', 'of one host aggregate'),
    _share('max_aggregate_percent', 'of one host aggregate'),
    cfg.IntOpt('max_rate', default=4, min=0,
               help='Hosts that may be taken for dead within ten minutes, whether they are '
                    'recovered by then or not. Where more are, recoveries that have not begun '
                    'are held like above. 0: there is no limit.'),
]
