"""A cloud as a topology describes it, with the production engine on it, in virtual time.

What comes in over the message bus goes through the production endpoints, which wait while no
engine runs, as their queues do.
"""

import datetime

from tests.scenarios import cloud
from tests.scenarios import invariants
from tests.scenarios import memory
from tests.scenarios import story
from tests.scenarios import watcher
from tests.unit import sim
from vmha_nova import exception
from vmha_nova import messaging
from vmha_nova import model

STEP = 0.5                              # seconds of one cycle
BEFORE_ACTS = {f'before {act}' for act in (*sim.ACTS, *sim.CEPH_ACTS, *sim.POWER_ACTS)}
FENCES = {'none': {}, 'storage': {'storage': True}, 'power': {'power': True},
          'power, storage': {'storage': True, 'power': True}}
KEYS = {'hosts', 'guests', 'groups', 'fence', 'without_bmc', 'policy', 'limits', 'nova',
        'monitor', 'backend', 'ranged', 'step'}
HOST_KEYS = {'zone', 'vcpus', 'spare', 'pool', 'aggregates', 'traits', 'maintenance', 'backend'}
GUEST_KEYS = {'vm_state', 'task_state', 'vcpus', 'priority', 'protect', 'group', 'project',
              'local', 'specs', 'stopped', 'zone', 'volume'}


class BadScenario(Exception):
    """A scenario makes no sense; the text says where and why."""


class World(sim.World):
    """See the module.

    :param topology: as read from a topology.yaml
    :ivar story: story.Story, what operators would see
    """

    Nova, Ceph = cloud.Nova, cloud.Ceph

    def __init__(self, topology):
        _check_keys('the topology', topology, KEYS)
        self.topology = topology
        hosts = {name: values or {} for name, values in topology.get('hosts', {}).items()}
        for name, values in hosts.items():
            _check_keys(f'host {name}', values, HOST_KEYS)
        fence = FENCES.get(topology.get('fence', 'storage'))
        if fence is None:
            raise BadScenario(f'fence is one of {"; ".join(FENCES)}')
        if fence.get('power'):
            fence = dict(fence, power=[
                h for h in hosts if h not in topology.get('without_bmc', ())])
        policy = _policy(topology)
        self.story = story.Story(lambda: (self.clock() - sim.START).total_seconds())
        self.running, self.monitor, self.restarts = True, None, 0
        self.queue = []                 # messages not acknowledged: (kind, event_type, payload)
        self.kills, self.kill_gates = [], set()     # gates by name, by number
        self.pause_gates, self.pauses = {}, 0       # by number: steps of the one that takes over
        self.step_seconds = topology.get('step', STEP)
        self.switched_on = {}           # host -> when somebody has switched it on
        self.cell_down_at = {}          # host -> when its cell has gone down last
        self.died_at = {}               # host -> when it has lost its power
        self.ever_hidden = set()        # guests that lists have left out at some time
        self.changed_at = {}            # guest -> when others have changed what Nova shows of it
        self.shown_at = {}              # guest -> when they have begun to show it again
        self.disabled_at = {}           # host -> when somebody has disabled it last
        self.reported_dead = set()      # hosts that were reported since
        self.marked_at = {}             # host -> when an operator has last marked it
        self.let_go = set()             # hosts that an operator has said are gone for good
        super().__init__(
            '', hosts=tuple(hosts), spares=(), ranged=topology.get('ranged', True),
            everywhere=topology.get('backend', 'rbd:vms'), **fence, **policy)
        if self.ceph:
            self.ceph.now = self.ours
        self.invariants = invariants.Invariants(self)
        self._furnish(hosts, topology)
        if 'monitor' in topology:
            self.monitor = watcher.Watcher(self, topology['monitor'] or {})
            if self.ceph:
                self.ceph.watcher = self.monitor
            if self.power:
                self.power.on_off = self.monitor.lose_power
        self.nova.before = self.invariants.before_act
        self.story.say = self.invariants.hear

    def make_store(self, path):
        found = memory.memory()
        found.reset(self.ours, self.story.hear)
        return found

    def _furnish(self, hosts, topology):
        for name, values in topology.get('nova', {}).items():
            setattr(self.nova, name, values)
        for name, values in hosts.items():
            host = self.nova.hosts[name]
            host.zone, host.vcpus = values.get('zone', 'nova'), values.get('vcpus', 100)
            self.nova.traits[name] = values.get('traits', ())
            if found := values.get('aggregates'):
                self.nova.aggregates_[name] = tuple(
                    model.Aggregate(a, metadata or {}) for a, metadata in found.items())
            marks = {k: values[k] for k in ('spare', 'pool', 'maintenance', 'backend')
                     if k in values}
            if marks:
                self.store.set_mark(name, **marks)
        groups = {}
        for host, guests in topology.get('guests', {}).items():
            for guest in guests:
                name, values = next(iter(guest.items())) if isinstance(guest, dict) else (
                    guest, {})
                self.add_guest(host, name, **values)
                if 'group' in values:
                    groups.setdefault(values['group'], set()).add(name)
        for name, policy in topology.get('groups', {}).items():
            self.nova.groups_[name] = model.ServerGroup(
                name, policy, frozenset(groups.get(name, ())))

    def add_guest(self, host, name, **values):
        """A guest is there; see GUEST_KEYS."""
        if not isinstance(name, str):
            raise BadScenario(f'{name!r} is no name of a guest; YAML reads on, off, yes, no as '
                              'something else')
        _check_keys(f'guest {name}', values, GUEST_KEYS)
        if host not in self.nova.hosts:
            raise BadScenario(f'guest {name}: there is no host {host}')
        metadata = {}
        if 'priority' in values:
            metadata['vmha:priority'] = str(values['priority'])
        if 'protect' in values:
            metadata['vmha:protect'] = str(values['protect'])
        state = 'stopped' if values.get('stopped') else values.get('vm_state', 'active')
        self.nova.add(
            name, host, vm_state=state, power_state=1 if state == 'active' else 4,
            task_state=values.get('task_state', ''), metadata=metadata,
            project_id=values.get('project', 'p'), zone=self.nova.hosts[host].zone,
            needs={'VCPU': values.get('vcpus', 1), 'MEMORY_MB': 64},
            extra_specs=values.get('specs', {}))
        if values.get('local') and self.ceph:
            del self.ceph.images[f'vms/{name}_disk']

    # -- the engine's process -------------------------------------------------------------------
    def start(self):
        super().start()
        self._endpoints = {
            'report': messaging.HostDownEndpoint(sim.Mortal(
                self.store, ('report_failure',), self._gate), self.engine.wake),
            'nova': messaging.NovaEndpoint(self.store, self.collector, self.engine)}

    def _proxy(self, target, names):
        lock = self.lock

        def gate(name):
            self._gate(name)
            if name in BEFORE_ACTS and not lock.leads():
                self.invariants.breach(10, f'an engine that was replaced: {name}')
        return sim.Mortal(target, names, gate)

    def _gate(self, name):
        number = len(self.gates)
        self.gates.append(name)
        if number in self.pause_gates:
            self._paused(name, number, self.pause_gates.pop(number))
        if name in self.kills[:1]:
            self.kills.pop(0)
        elif number not in self.kill_gates:
            return
        raise sim.Killed(name)

    def _paused(self, name, number, steps):
        """The engine stands still here while another one takes over, and then goes on."""
        # Between a look at the lock and the act right after it nobody can help.
        if name in BEFORE_ACTS or name == 'before take_lead':
            self.pause_gates[number + 1] = steps
            return
        self.pauses += 1
        self.story.mark(f'the engine is paused {name}, and another one takes over')
        self.start()
        for _ in range(steps):
            self.step()
        self.story.mark('the engine that was paused goes on')

    def step(self, seconds=None):
        """Time goes on, the engine does one cycle if it runs, and the invariants are checked."""
        self.nova.tick(seconds or self.step_seconds)
        if self.monitor is not None:
            self.monitor.go_on()
        engine = self.engine
        if self.running:
            try:
                self.work()
            except exception.TermLost:
                if self.engine is engine:
                    raise
                self.story.mark('it ends, as another one leads')
            except sim.Killed as gate:
                self.restarts += 1
                self.story.mark(f'the engine is killed {gate}, and starts anew')
                self.start()
        self.invariants.check()

    def work(self):
        while self.queue:               # unacknowledged until it was taken
            message = kind, event_type, payload = self.queue[0]
            self._endpoints[kind].handle({}, 'sim', event_type, payload, {})
            if self.queue[:1] == [message]:     # or another engine took it meanwhile
                self.queue.pop(0)
        super().work()

    def post(self, kind, event_type, payload):
        """Put a message into the queue of an endpoint: report, nova."""
        self.queue.append((kind, event_type, payload))

    # -- what is asked of it --------------------------------------------------------------------
    def newest(self, host):
        """The newest recovery of a host, None."""
        return next((r for r in reversed(self.store.recoveries()) if r.host == host), None)

    def move_of(self, name):
        """The newest move of a guest, None."""
        return next((m for r in reversed(self.store.recoveries())
                     for m in self.store.moves(r.id) if m.instance_id == name), None)

    def stands(self, subject):
        """The state of a host's newest recovery (released: it is back), or of a guest's move."""
        if subject in self.nova.hosts:
            found = self.newest(subject)
            return 'released' if found and found.released_at else found.state if found else ''
        found = self.move_of(subject)
        return found.state if found else ''

    def seconds(self):
        """Since the beginning."""
        return (self.clock() - sim.START).total_seconds()

    def later(self, seconds):
        """Aware UTC."""
        return self.clock() + datetime.timedelta(seconds=seconds)


def _check_keys(what, found, known):
    if not isinstance(found, dict):
        raise BadScenario(f'{what} is no mapping')
    if strange := sorted(set(found) - known):
        raise BadScenario(f'{what}: {", ".join(map(str, strange))} is not known; there are '
                          f'{", ".join(sorted(known))}')


def _policy(topology):
    values = dict(topology.get('policy', {}))
    try:
        if 'limits' in topology:
            values['limits'] = model.Limits(**topology['limits'])
        for name in ('untouched_projects', 'planned_shutdown'):
            if name in values:
                values[name] = frozenset(values[name])
        model.Policy(**values)
    except TypeError as e:
        raise BadScenario(f'policy or limits: {e}') from e
    return dict(dict(return_after=6.0), **values)
