"""What can happen in a scenario: a command each, whose words are the arguments of a method.

``die c1`` is ``Events.die('c1')``, ``report c1 source=sensor`` is ``report('c1',
source='sensor')``; a ``-`` in a command is a ``_`` in its method.
"""

import datetime
import inspect
import shlex

from tests.scenarios import cloud
from tests.scenarios import world as worlds
from tests.unit import sim_power
from vmha_nova import exception
from vmha_nova import messaging
from vmha_nova.monitor import channels

NETWORKS = {'management': (channels.MANAGEMENT,), 'storage': (channels.STORAGE,),
            'all': (channels.MANAGEMENT, channels.STORAGE)}
MOODS = {'dead': sim_power.DEAD, 'stuck': sim_power.STUCK, 'slow': sim_power.SLOW}
REFUSED = (exception.InvalidTransition,)    # what the store answers to a wish it does not take
ERRORS = {'refuse': exception.Rejected, 'lose': exception.OutcomeUnknown,
          'lose-late': exception.OutcomeUnknown, 'unreachable': exception.Unreachable}


class Events:
    """See the module. Each method is what happens, and its docstring says it in words."""

    def __init__(self, world):
        self._world = world

    def happen(self, text):
        """Do what a line says.

        :raises BadScenario: it makes no sense.
        """
        words = shlex.split(text)
        method = self._method(words[0])
        named = dict(word.split('=', 1) for word in words[1:] if '=' in word)
        plain = [word for word in words[1:] if '=' not in word]
        try:
            inspect.signature(method).bind(*plain, **named)
        except TypeError as e:
            raise worlds.BadScenario(f'{text!r}: {e}; it is: {usage(words[0])}') from None
        self._world.story.mark(text)
        try:
            method(*plain, **named)
        except (KeyError, ValueError) as e:
            raise worlds.BadScenario(f'{text!r}: {type(e).__name__}: {e}') from e

    def _method(self, word):
        name = word.replace('-', '_')
        method = None if name.startswith('_') or name == 'happen' else getattr(self, name, None)
        if method is None:
            raise worlds.BadScenario(f'{word!r} is no event; there are: {", ".join(names())}')
        return method

    # -- hosts ----------------------------------------------------------------------------------
    def die(self, host):
        """A host loses its power."""
        self._dies(host)
        if self._world.monitor:
            self._world.monitor.lose_power(host)

    def crash(self, host):
        """All processes of a host end at once; its kernel refuses connections."""
        self._dies(host)
        if self._world.monitor:
            self._world.monitor.crash(host)

    def _dies(self, host):
        self._world.died_at[host] = self._world.clock()
        self._world.reported_dead.discard(host)
        self._world.nova.lose_power(host)

    def cut(self, host, network='all'):
        """A host loses its cable (management, storage, all); its guests run on."""
        one = self._world.nova.hosts[host]
        if network in ('management', 'all'):
            one.alive = False
        if network in ('storage', 'all'):
            one.linked = False
        if self._world.monitor:
            self._world.monitor.cut(host, NETWORKS[network])

    def heal(self, host):
        """The cable is back: what ran there runs on, and nothing was started anew."""
        one = self._world.nova.hosts[host]
        if not one.powered:
            raise ValueError(f'{host} is off')
        one.alive = one.linked = True
        if self._world.monitor:
            self._world.monitor.restore(host)

    def switch_on(self, host, hangs=''):
        """A host starts: its nova-compute removes guests that were evacuated; others run again.

        ``hangs``: it has power, and starts nothing.
        """
        self._world.switched_on[host] = self._world.seconds()
        if hangs:
            self._world.nova.hosts[host].powered = True
            return
        self._world.nova.switch_on(host)
        if self._world.monitor:
            self._world.monitor.restore(host)

    def stop_compute(self, host):
        """The nova-compute of a host ends; its guests run on."""
        self._world.nova.hosts[host].alive = False
        if self._world.monitor:
            self._world.monitor.hosts[host].compute = False

    def start_compute(self, host):
        """The nova-compute of a host is started, again or anew."""
        if not self._world.nova.hosts[host].powered:
            raise ValueError(f'{host} is off')
        self._world.nova.restart_compute(host)
        self._world.nova.hosts[host].alive = True
        if self._world.monitor:
            self._world.monitor.hosts[host].compute = True

    def osd_down(self, host):
        """Ceph marks the OSDs of a host down."""
        self._world.ceph.osd_down.add(host)
        if self._world.monitor:
            self._world.monitor.kill_osd(host)

    def osd_up(self, host):
        """The OSDs of a host are up again."""
        self._world.ceph.osd_down.discard(host)
        if self._world.monitor and self._world.nova.hosts[host].powered:
            self._world.monitor.start_osd(host)

    # -- reports --------------------------------------------------------------------------------
    def report(self, host, source='test', reason='it burns', force='', late='0'):
        """A host is reported down through the API; ``late``: seconds since it was detected."""
        self._reported(host, late)
        self._world.store.report_failure(
            host, source, reason, forced=bool(force), detected_at=self._world.later(
                -float(late)) if float(late) else None)

    def message(self, host, source='test', reason='it burns', late='0', times='1'):
        """A host-down notification is on the bus, perhaps several times, or late."""
        self._reported(host, late)
        for _ in range(int(times)):
            self._world.post('report', messaging.HOST_DOWN, messaging.host_down(
                host, reason, source, detected_at=self._world.later(-float(late))))

    def _reported(self, host, late):
        died = self._world.died_at.get(host)
        if died and not self._world.nova.hosts[host].powered and (
                died <= self._world.later(-float(late))):   # or it is no report of that
            self._world.reported_dead.add(host)

    def garbage(self):
        """A message that makes no sense is on the bus."""
        self._world.post('report', messaging.HOST_DOWN, {'host': 7})

    def nova_tells(self, host, forced='yes'):
        """Nova's service.update of a host is on the bus."""
        self._world.post('nova', 'service.update', {'nova_object.data': {
            'binary': 'nova-compute', 'host': host, 'forced_down': forced == 'yes'}})

    def nova_tells_load(self, host, percent):
        """Nova's metrics.update of a host is on the bus."""
        self._world.post('nova', 'metrics.update', {'nova_object.data': {
            'host': host, 'metrics': [{'nova_object.data': {
                'name': 'cpu.percent', 'value': int(percent)}}]}})

    # -- guests, their owners, and others -------------------------------------------------------
    def create(self, host, guest, **values):
        """A guest is created on a host, as a topology describes it."""
        if not self._world.nova.hosts[host].alive:
            raise ValueError(f'{host} is away')
        self._world.add_guest(host, guest, **values)

    def delete(self, guest, quietly=''):
        """Its owner deletes a guest; quietly: no list of Nova's tells."""
        self._world.nova.delete(guest)
        if quietly:
            del self._world.nova.servers_.deleted[guest]

    def stop(self, guest):
        """Its owner stops a guest."""
        if not self._world.nova.owner_power(guest, cloud.OFF):
            self._world.story.mark(f'Nova does not stop {guest}: it is busy, or its host is away')

    def start(self, guest):
        """Its owner starts a guest."""
        if not self._world.nova.owner_power(guest, cloud.ON):
            self._world.story.mark(f'Nova does not start {guest}: it is busy, or its host is away')

    def change(self, guest, **values):
        """Nova shows other values of a guest: vm_state, task_state, host, fault."""
        if 'power_state' in values:
            values['power_state'] = int(values['power_state'])
        self._world.nova.put(guest, **values)
        self._world.changed_at[guest] = self._world.seconds()

    def migrate(self, guest, target, seconds='5'):
        """Somebody migrates a running guest."""
        self._world.nova.migrate(guest, target, float(seconds))

    def evacuate(self, guest, target):
        """Somebody else has Nova evacuate a guest."""
        nova = self._world.nova
        if nova.up(nova.hosts[nova.servers_[guest].host]) or nova.servers_[guest].task_state:
            raise ValueError('Nova refuses that: its host is up, or it is busy')
        self._world.nova.evacuated_by_others(guest, target)

    def destroy(self, guest, host):
        """An operator ends what runs of a guest on a host, beside Nova."""
        self._world.nova.lose(guest, host)

    def hide(self, guest):
        """Nova's lists leave a guest out."""
        self._world.nova.hidden.add(guest)
        self._world.ever_hidden.add(guest)

    def show(self, guest):
        """Nova's lists have it again."""
        self._world.nova.hidden.discard(guest)
        self._world.shown_at[guest] = self._world.seconds()

    # -- Nova -----------------------------------------------------------------------------------
    def full(self, host):
        """Nova's scheduler finds no room on a host, whatever Placement says."""
        self._world.nova.refuses.add(host)

    def roomy(self, host):
        """It does again."""
        self._world.nova.refuses.discard(host)

    def next(self, act, how, code='409', times='1'):
        """What becomes of the next call of an act: refuse, lose, lose-late, unreachable.

        ``lose``: Nova never sees it; ``lose-late``: it does, and its answer is lost.
        """
        table = self._world.nova.late_faults if how == 'lose-late' else self._world.nova.faults
        error = ERRORS[how]
        table.setdefault(act, []).extend(
            error('Nova says no', int(code)) if error is exception.Rejected
            else error('timed out') for _ in range(int(times)))

    def nova_away(self, what='all'):
        """Nova answers nothing, or does not list: services, servers, evacuations, …."""
        self._world.nova.away = 'Nova does not answer'
        self._world.nova.away_for = what

    def nova_back(self):
        """It answers again."""
        self._world.nova.away = ''

    def cell_down(self, *hosts):
        """The cell of some hosts is down."""
        for host in hosts:
            self._world.nova.hosts[host]        # or KeyError
            self._world.cell_down_at[host] = self._world.seconds()
        self._world.nova.down |= set(hosts)

    def cell_up(self):
        """All cells are up again."""
        self._world.nova.down.clear()

    def rebuild(self, seconds):
        """Nova needs so long for an evacuation from now on."""
        self._world.nova.rebuild = float(seconds)

    def lag(self, seconds):
        """Nova lists an evacuation so long after its call."""
        self._world.nova.lag = float(seconds)

    def end(self, guest, status='error'):
        """The newest evacuation record of a guest ends, by somebody's hand."""
        nova = self._world.nova
        nova.end([r for r in nova.records if r.instance_id == guest][-1], status)
        if guest in nova.servers_:
            nova.put(guest, task_state='')

    def disable(self, host, reason):
        """Somebody disables a nova-compute."""
        self._world.nova.disabled(host, reason)
        self._world.disabled_at[host] = self._world.seconds()

    def enable(self, host):
        """Somebody enables a nova-compute."""
        self._world.nova.enabled(host)

    def force_down(self, host):
        """Somebody forces a nova-compute down."""
        self._world.nova.forced(host, True)

    def force_up(self, host):
        """Somebody takes that back."""
        self._world.nova.forced(host, False)

    # -- Ceph and BMCs --------------------------------------------------------------------------
    def ceph_away(self):
        """The monitors of Ceph do not answer."""
        self._world.ceph.away = True

    def ceph_back(self):
        """They answer again."""
        self._world.ceph.away = False

    def pool(self, pool, reason=''):
        """Placement groups of a pool are inactive, for that reason; without one: all are well."""
        self._world.ceph.not_active.pop(pool, None)
        if reason:
            self._world.ceph.not_active[pool] = reason

    def osd_late(self, *hosts):
        """The OSDs of some hosts do not take new maps; of none: all do."""
        order = list(self._world.ceph.ips)
        self._world.ceph.late = {order.index(h) for h in hosts}
        self._world.ceph.catch_up()

    def unblock(self, host):
        """Somebody clears what is on the blocklist for a host."""
        ceph = self._world.ceph
        ip = ceph.ips[host]
        ceph.ranges.discard(f'{ip}/32')
        ceph.entries -= {e for e in ceph.entries if e.startswith(f'{ip}:')}

    def block(self, host):
        """Somebody puts the address of a host on the blocklist."""
        one = f'{self._world.ceph.ips[host]}/32'
        if one not in self._world.ceph.ranges:      # or it stays whose it is
            self._world.ceph.ranges.add(one)
            self._world.ceph.foreign.add(one)

    def bmc(self, host, mood):
        """The BMC of a host is dead, stuck, slow or well."""
        self._world.power.moods.pop(host, None)
        if mood != 'well':
            self._world.power.moods[host] = MOODS[mood]

    # -- operators ------------------------------------------------------------------------------
    def wish(self, what, host):
        """An operator wants of the newest recovery of a host: approve, abort, retry, release."""
        recovery = self._world.newest(host)
        if recovery is None:
            raise ValueError(f'there is no recovery of {host}')
        if what == 'release':
            self._world.let_go.add(host)
        self._world.store.wish(recovery.id, what)

    def pause(self, reason='we look first'):
        """An operator stops new recoveries."""
        self._world.store.pause(True, reason, 'op')

    def resume(self):
        """An operator lets them begin again."""
        self._world.store.pause(False, '', 'op')

    def mark(self, host, **values):
        """An operator marks a host: spare=, maintenance= (yes, no), pool=, backend=, seconds=."""
        given = {k: v == 'yes' if v in ('yes', 'no') else v for k, v in values.items()}
        if 'seconds' in given:
            given['maintenance_until'] = self._world.later(float(given.pop('seconds')))
        self._world.marked_at[host] = self._world.clock()
        self._world.store.set_mark(host, **given)

    # -- the engine and its machine -------------------------------------------------------------
    def kill(self, gate=''):
        """The engine is killed and starts anew: now, or "before"/"after" one of its writes, acts.

        ``kill "before evacuate"``: at the next one.
        """
        if gate:
            self._world.kills.append(gate)
        else:
            self._world.start()

    def kill_gate(self, number):
        """The engine is killed at that gate, counted from its first write or act."""
        self._world.kill_gates.add(int(number))

    def pause_gate(self, number, steps='20'):
        """The engine is paused at that gate while another one takes over and does some steps."""
        self._world.pause_gates[int(number)] = int(steps)

    def stop_engine(self):
        """No engine runs."""
        self._world.running = False

    def start_engine(self):
        """An engine runs again."""
        self._world.running = True
        self._world.start()

    def clock(self, seconds):
        """The clock of the engine's machine is set by so many seconds."""
        self._world.offset += datetime.timedelta(seconds=float(seconds))

    def monitor(self, what):
        """Its own cables: cut, storage-cut, healed; its Nova, its Ceph: nova-away, ceph-away, …"""
        watcher = self._world.monitor
        name, value = {'cut': ('cables', set()),
                       'storage-cut': ('cables', {channels.MANAGEMENT}),
                       'healed': ('cables', set(NETWORKS['all'])),
                       'nova-away': ('nova_up', False), 'nova-back': ('nova_up', True),
                       'ceph-away': ('ceph_up', False), 'ceph-back': ('ceph_up', True)}[what]
        setattr(watcher, name, value)

    def wait(self):
        """Nothing: time goes on."""


def names():
    """The commands."""
    return sorted(n.replace('_', '-') for n, value in vars(Events).items()
                  if not n.startswith('_') and n != 'happen' and callable(value))


def usage(name):
    """A command with its arguments, and what it does."""
    method = getattr(Events, name.replace('-', '_'))
    words = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        words.append({
            inspect.Parameter.VAR_POSITIONAL: f'{parameter.name.upper()} …',
            inspect.Parameter.VAR_KEYWORD: 'NAME=VALUE …'}.get(
                parameter.kind, parameter.name.upper() if parameter.default is parameter.empty
                else f'[{parameter.name}=…]'))
    return ' '.join([name, *words]) + ': ' + (method.__doc__ or '').strip().split('\n')[0]


