"""Puts the engine together from a configuration. ``conf`` is an oslo.config ConfigOpts."""

import functools
import gc
import logging
import os
import signal
import socket
import threading

import cotyledon
import futurist
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import loading

from vmha_nova import ceph
from vmha_nova import clock as clocks
from vmha_nova import collector
from vmha_nova import coordination
from vmha_nova.db import store
from vmha_nova import disks
from vmha_nova import engine
from vmha_nova import exception
from vmha_nova.fencing import agents
from vmha_nova.fencing import fences
from vmha_nova.fencing import ironic
from vmha_nova.fencing import none
from vmha_nova.fencing import parameters
from vmha_nova.fencing import power
from vmha_nova.fencing import storage as storage_fence
from vmha_nova import messaging
from vmha_nova import metrics
from vmha_nova import model
from vmha_nova import notifier
from vmha_nova import nova
from vmha_nova import planner
from vmha_nova import recorder
from vmha_nova import storage
from vmha_nova import unchecked

LOG = logging.getLogger(__name__)
SPARE_JOBS = 8                          # calls besides the evacuations under way
LOCK = 'vmha-engine'
clock = clocks.wall


def make_store(conf, clock=clock):
    """The database of [database]."""
    options = {k: v for k, v in conf.database.items()
               if k in ('connection', 'max_pool_size', 'max_retries', 'connection_recycle_time')}
    return store.Store(clock, **options)


def make_session(conf):
    """The account of [service_credentials]; nothing is called yet.

    :raises ConfigurationError: the account is incomplete.
    """
    try:
        auth = loading.load_auth_from_conf_options(conf, 'service_credentials')
    except ks_exceptions.ClientException as e:
        raise exception.ConfigurationError(f'[service_credentials]: {e}') from e
    if auth is None:
        raise exception.ConfigurationError(
            '[service_credentials] auth_type is not set: give auth_type = password, auth_url, '
            'username, password, project_name and their domains')
    return loading.load_session_from_conf_options(conf, 'service_credentials', auth=auth)


def make_nova(conf):
    """Nova and Placement; nothing is called yet."""
    group = conf.service_credentials
    return nova.Nova(make_session(conf), region_name=group.region_name, interface=group.interface,
                     timeout=group.request_timeout)


def make_collector(conf, nova_, clock=clock):
    """The collector of [collector]."""
    return collector.Collector(nova_, clock, collector.Settings(
        interval=conf.collector.interval, nodes_interval=conf.collector.nodes_interval,
        full_interval=conf.collector.full_interval))


def make_policy(conf):
    """[recovery], [detection], [storm] and [return] as one value."""
    rec, det, ret = conf.recovery, conf.detection, conf['return']
    if det.heartbeat_silence <= 2 * conf.collector.interval:
        # A beat can fall between two looks, and one look in between may not count.
        raise exception.ConfigurationError(
            '[detection] heartbeat_silence must be more than twice [collector] interval '
            f'({conf.collector.interval:g} s)')
    words = set(det.trust.values()) - {'act', 'confirm', 'ignore'}
    if words:
        raise exception.ConfigurationError(
            f'[detection] trust: {", ".join(sorted(words))}: only act, confirm, ignore')
    return model.Policy(
        spares_only=rec.spares_only, untouched_projects=frozenset(rec.untouched_projects),
        evacuate_error=rec.evacuate_error, max_cpu_share=rec.max_cpu_share,
        cpu_share_ttl=rec.cpu_share_ttl,
        # With no storage driver no backend is known; the operator's word stands for it.
        need_same_backend=not fences.has(conf, fences.NONE) or not conf.fence.unsafe_without_fence,
        max_attempts=rec.max_attempts, max_faults=rec.max_faults, window=rec.window,
        window_start=rec.window_start, window_per_target=rec.window_per_target,
        window_per_target_start=rec.window_per_target_start, limits=make_limits(conf.storm),
        heartbeat_silence=det.heartbeat_silence, check_interval=det.check_interval,
        trust=det.trust, planned_shutdown=frozenset(det.planned_shutdown),
        quiet=rec.quiet_period, move_timeout=rec.move_timeout,
        follow_interval=rec.follow_interval, spare_after=rec.spare_after,
        return_automatic=ret.automatic, return_after=ret.stable_for,
        return_becomes=ret.becomes, flap_window=ret.flap_window)


def make_limits(group):
    """[storm] as a value."""
    return model.Limits(
        hosts=group.max_hosts, percent=group.max_percent, zone_hosts=group.max_zone_hosts,
        zone_percent=group.max_zone_percent, aggregate_hosts=group.max_aggregate_hosts,
        aggregate_percent=group.max_aggregate_percent, rate=group.max_rate)


def make_ceph(conf, clock=clock):
    """The cluster of [ceph]; nothing is called yet.

    :raises ConfigurationError: the libraries or the files it needs are not there.
    """
    group = conf.ceph
    return ceph.Ceph(group.conf_file, group.user, keyring=group.keyring, timeout=group.timeout,
                     clock=clock, data_pools=group.data_pools)


def make_storage(conf, ceph_, store_, snapshot, attachments, clock=clock, **power_):
    """What is known of the storage of [ceph]; with no Ceph, storage nobody asks.

    :param power_: ``powered`` and ``protect`` of the fence by power, where there is one
    """
    group = conf.ceph
    if ceph_ is None:
        return unchecked.NamedStorage(group.hosts_backend, power_.get('protect')) if fences.has(
            conf, fences.POWER) else unchecked.UncheckedStorage()
    return storage.Storage(
        ceph_, store_, snapshot, attachments, clock, make_pools(group),
        named=named_addresses(group), everywhere=group.hosts_backend, ranged=group.fence_range,
        interval=group.clients_interval, **power_)


def make_pools(group):
    """The pools that [ceph] names.

    :raises ConfigurationError: hosts_backend is none of them.
    """
    if problem := disks.backend_problem(group.hosts_backend):
        raise exception.ConfigurationError(f'[ceph] hosts_backend: {problem}')
    return disks.Pools(*map(tuple, (group.ephemeral_pools, group.volume_pools,
                                    group.image_pools, group.data_pools)))


def storage_on_record(conf, store_, cluster):
    """What the engine has written of the storage, for who only reads; Ceph is not asked."""
    if not fences.has(conf, fences.STORAGE):
        return make_storage(conf, None, store_, None, None)
    found = make_storage(conf, object(), store_, lambda: cluster, None,
                         powered=store_.switched_off().__contains__)
    found.load_backends()
    return found


def make_planner(conf, store_, clock=clock):
    """What answers "what would be done if these hosts died now?" from the database."""
    return planner.Planner(store_, functools.partial(storage_on_record, conf, store_),
                           make_policy(conf), clock)


def named_addresses(group):
    """[ceph] host_addresses: host -> IPs, several joined by plus signs."""
    return {host: ips.split('+') for host, ips in group.host_addresses.items()}


def make_power(conf, check_lead=lambda: None, clock=clock):
    """The fence by power, None where there is none.

    :raises ConfigurationError: its file cannot be used.
    """
    if not fences.has(conf, fences.POWER):
        return None
    group = conf.service_credentials
    found = parameters.Parameters(conf.fence.power_file)
    found.all()
    return power.PowerFence(
        found, agents.Agents(conf.fence.power_timeout),
        ironic.Ironic(make_session(conf), group.region_name, group.interface,
                      conf.fence.power_timeout),
        {socket.gethostname(), socket.getfqdn()}, conf.fence.power_patience, check_lead, clock)


def make_fence(conf, ceph_=None, storage_=None, power_=None):
    """The fences of [fence], in the operator's order.

    :raises ConfigurationError: with one line that says what to do.
    """
    made = {
        fences.NONE: lambda: none.NoFence(conf.fence.unsafe_without_fence),
        fences.STORAGE: lambda: storage_fence.StorageFence(
            ceph_, storage_, conf.ceph.fence_seconds, conf.ceph.fence_range,
            refusing=functools.partial(ceph.refusing, timeout=1.0)),
        fences.POWER: lambda: power_ or make_power(conf)}
    return fences.Fences(*(made[driver]() for driver in fences.order(conf)))


def check(conf):
    """Find what would keep the engine from working as configured.

    :raises ConfigurationError: with one line that says what to do.
    """
    make_policy(conf)
    coordination.check(conf.coordination.backend_url, coordination.member())
    make_nova(conf)
    power_ = make_power(conf)
    make_fence(conf, power_=power_)
    if power_ is not None:
        power_.problems()           # which are logged
    if fences.has(conf, fences.STORAGE):
        make_ceph(conf)
    notifier.options(conf)
    for url in (conf.notifications.transport_url, conf.notifications.nova_transport_url):
        messaging.transport(conf, url)
    store_ = make_store(conf)
    try:
        there, wanted = store_.version(), store_.newest_version()
    finally:
        store_.close()              # the process is forked after this
    if there != wanted:
        raise exception.ConfigurationError(
            f'the database {conf.database.connection.split("@")[-1]} '
            f'{"is at version " + there if there else "has no tables"}, this program wants '
            f'{wanted}: run "vmha-manage db sync"')


def settle_memory():
    """Look for garbage now, and from here on only among what is made later.

    Python looks through everything every now and then, and everything waits. With hundreds of
    thousands of instances that takes a good part of a second; and they hardly ever change.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class EngineService(cotyledon.Service):
    """The vmha-engine process: collector, listeners and the engine's loop, a thread each.

    Without the lock of all engines it knows the cloud, and does nothing. What comes over the
    message bus waits for the one that leads, or for the next one. One that has led and lost the
    lock ends at once, with all calls that wait for their turn; the one that the manager starts
    then has nothing in its memory.
    """

    name = 'vmha-engine'

    def __init__(self, worker_id, conf):
        super().__init__(worker_id)
        self._stop = threading.Event()
        policy = make_policy(conf)
        nova_ = make_nova(conf)
        steady = clocks.Steady()
        store_ = make_store(conf, steady)
        self.collector = make_collector(conf, nova_, steady)
        self._executor = futurist.ThreadPoolExecutor(policy.window + SPARE_JOBS)
        self._ceph = make_ceph(conf, steady) if fences.has(conf, fences.STORAGE) else None
        power_ = make_power(conf, lambda: self._storage.check_lead(), steady)
        self._storage = make_storage(conf, self._ceph, store_, lambda: self.collector.snapshot,
                                     nova_.attachments, steady, **({} if power_ is None else {
                                         'powered': power_.powered, 'protect': power_.protect}))
        self._leadership = coordination.Leadership(
            conf.coordination.backend_url, LOCK, coordination.member(), conf.coordination.lease)
        fence = make_fence(conf, self._ceph, self._storage, power_)
        LOG.info('fence: %s, which proves: %s', fence.name, fence.proves)
        self.engine = engine.Engine(
            store_, nova_, self.collector, fence, self._storage, self._executor, steady,
            coordination.member(), policy, idle=steady.take_over, leadership=self._leadership)
        self.listeners = messaging.Listeners(conf, store_, self.collector, self.engine)
        self._recorder = recorder.Recorder(
            store_, self.engine.lead, lambda: self.collector.snapshot, self._storage, policy,
            steady, conf.collector.capacity_interval)
        self._conf, self._alone = conf.metrics, not conf.coordination.backend_url
        self._metrics = metrics.EngineMetrics(store_, steady)
        self._notifier = notifier.Notifier(conf, store_, self.engine.lead, self._metrics)
        self._threads = [threading.Thread(target=t, name=n, daemon=True) for n, t in (
            ('collector', self._collect), ('engine', self._lead),
            ('storage', self._watch_storage), ('recorder', self._write_down))]
        self._telling = threading.Thread(target=self._notifier.run, name='notifier', daemon=True)

    def run(self):
        """Start everything; returns at once."""
        self._leadership.start()
        for thread in self._threads:
            thread.start()
        self._telling.start()
        if self._conf.port:
            self._metrics.serve(self._conf.listen, self._conf.port)

    def terminate(self):
        """Stop listening, end the cycle under way, let calls under way end."""
        self._stop.set()
        self.listeners.stop()
        self.collector.poke()
        self.engine.stop()
        self._metrics.stop()
        self._notifier.stop(self._telling)
        for thread in self._threads:
            thread.join(10)
        self._executor.shutdown(wait=False)
        if self._ceph is not None:
            self._ceph.close()
        self._leadership.stop()         # nothing is done any more that another one might do

    def _collect(self):
        settled = None
        while not self._stop.is_set():
            try:
                pause = self.collector.refresh()
                if self.collector.read_all_at != settled:
                    settled = self.collector.read_all_at
                    settle_memory()
            except Exception:
                LOG.exception('the cloud could not be read')
                pause = 5.0
            self.collector.wait(pause)

    def _watch_storage(self):
        self._repeat('storage', self._storage.look)

    def _write_down(self):
        self._repeat('what is known of the cloud', self._recorder.look)

    def _repeat(self, what, look):
        """Look until the end; ``look`` returns the seconds until the next time."""
        said = ''
        while not self._stop.is_set():
            try:
                pause, problem = look(), ''
            except exception.VmhaError as e:
                pause, problem = 5.0, str(e)
            except Exception as e:
                LOG.exception('%s: internal error', what)
                pause, problem = 5.0, str(e)
            if problem != said:
                LOG.warning('%s: %s', what, problem or 'is well again')
                said = problem
            self._stop.wait(pause)

    def _lead(self):
        try:
            self.engine.run(self.listeners.start)
        except exception.TermLost as e:
            LOG.error('this engine ends: %s', e)
            if not self._alone:
                os._exit(1)             # the manager starts a new one, which waits for the lock
            os.kill(os.getppid(), signal.SIGTERM)   # and that one would take the lead back
        except Exception:
            LOG.critical('the engine ends', exc_info=True)
            os._exit(1)                 # the manager starts a new one, which goes on
