"""What must never happen (the numbers are those of the design's second section), after every step.

1. Two writers: no guest has copies on two hosts that can write, and none is evacuated while its
   old copy can, or without a fence on record.
2. A forgotten instance: whatever is over has named every instance of its host, with a reason.
3. Fail-open: nothing is done to a host in maintenance, of a cell that is down, or while paused.
4. A crash that forgets: an act is on record before it is done.
5. A storm: no more hosts are dealt with at a time than the limit, without an operator's word.
6. Undoing what others did.
7. A changed guest: who has moved runs where it ran before, and is stopped where it was stopped.
8. A second call: nobody is evacuated while being evacuated.
9. Nothing of ours is left behind that nobody owns: forced_down, disabled, on the blocklist.
10. An engine that was replaced does nothing.
"""

from vmha_nova import homecoming
from vmha_nova import marks
from vmha_nova import states

LOOKS = 3.0                             # seconds until the engine has looked at Nova


class Broken(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Of one world.World; a breach is remembered, and raised by check()."""

    def __init__(self, world):
        self._world = world
        self.breaches = []
        self.checks = 0
        self._unsafe = not (world.ceph or world.power)  # the fence is an operator's word
        self._begun = {}                # recovery id -> begun without an operator's word
        self._twice = 0

    def breach(self, number, text):
        """An invariant is broken."""
        self.breaches.append(f'invariant {number} is broken at '
                             f'{self._world.seconds():.1f} s: {text}')

    def check(self):
        """Raise Broken if an invariant does not hold, or did not since the last time."""
        self.checks += 1
        self._two_writers()
        self._left_behind()
        self._second_calls()
        if self.breaches:
            raise Broken('\n'.join(self.breaches))

    # -- acts of the engine, right before they are done -----------------------------------------
    def before_act(self, act, *arguments):
        """Called by the simulated Nova."""
        world = self._world
        if act == 'evacuate':
            self._before_evacuate(*arguments)
            return
        if act in ('stop', 'start'):
            self._owned_move(arguments[0], ('settling',), act)
            return
        host = arguments[0].removeprefix('id-')
        steps = world.store.steps(subject=host)
        kinds = {'force_down': ('force_down', 'force_up'), 'disable': ('disable', 'park'),
                 'enable': ('enable', 'enable_spare', 'unpark')}[act]
        if not any(s.kind in kinds and s.state == 'intended' for s in steps):
            self.breach(4, f'{act} of {host} is not on record as intended')
        if act == 'force_down' and not arguments[1] and host in world.nova.forced_by_others:
            self.breach(6, f'{host} was forced down by somebody else, and is put up')
        one = world.nova.hosts[host]
        if act == 'enable' and host in world.nova.disabled_by_others:
            self.breach(6, f'{host} was disabled by somebody else ({one.reason}), and is enabled')
        if act == 'force_down' and arguments[1]:
            self._may_begin(host)

    def _before_evacuate(self, ident, target):
        world = self._world
        server = world.nova.servers_.get(ident)
        if server is None:
            return                      # deleted a moment ago: Nova answers 404
        recovery = self._owned_move(ident, ('sending',), 'evacuate')
        if recovery is None:
            return
        fence = None
        for step in world.store.steps(recovery.id):
            if step.kind == 'lift':
                fence = None
            elif step.kind == 'fence' and step.state == 'done':
                fence = step
        if fence is None:
            self.breach(1, f'{ident} is evacuated from {server.host} with no fence on record')
        if not self._unsafe and (writing := world.nova.writers(ident)):
            if not self._excused(server.host):
                self.breach(1, f'{ident} is evacuated while its copy on '
                               f'{", ".join(writing)} can write')
        one = world.nova.hosts[target]
        if target in (r.host for r in world.store.recoveries(open_only=True)):
            self.breach(1, f'{ident} is evacuated to {target}, which has failed itself')
        if target in world.nova.disabled_by_others and not one.enabled and not self._just(
                world.disabled_at, target):
            self.breach(6, f'{ident} is evacuated to {target}, which others have disabled')

    def _excused(self, host):
        """A host that somebody has switched on again a moment ago: nothing tells of that."""
        switched = self._world.switched_on.get(host)
        return switched is not None and self._world.seconds() - switched < 20.0

    def _just(self, times, name):
        """Whether something is so short a time ago that the engine need not have seen it."""
        return name in times and self._world.seconds() - times[name] <= LOOKS

    def _owned_move(self, ident, wanted, act):
        """The recovery in whose name something is done to a guest."""
        for recovery in self._world.store.recoveries(open_only=True):
            for move in self._world.store.moves(recovery.id):
                if move.instance_id == ident and move.state in wanted:
                    return recovery
        self.breach(4, f'{act} of {ident} is not on record')
        return None

    def _may_begin(self, host):
        recovery = self._world.newest(host)
        if recovery is None or recovery.ended_at is not None:
            self.breach(4, f'{host} is forced down, and no recovery of it is open')

    # -- what was written -----------------------------------------------------------------------
    def hear(self, what, values):
        """Called with everything that the store has written."""
        if what == 'step' and values['kind'] == 'fence' and values['state'] == 'intended':
            self._on_fence(values['subject'], values['recovery_id'])
        elif what == 'told':
            payload = values['payload']
            if values['event_type'].startswith('vmha.move.'):
                self._on_move(payload)
            elif values['event_type'].startswith('vmha.recovery.'):
                self._on_recovery(payload)

    def _on_fence(self, host, recovery_id):
        store, nova = self._world.store, self._world.nova
        if len(store.steps(recovery_id, 'fence')) > 1:
            return                      # it had begun before
        recovery = store.recovery(recovery_id)
        report = store.report_of(recovery_id)
        word = recovery.approved or report.forced
        if host in nova.down and not nova.away and (
                self._world.seconds() - self._world.cell_down_at[host] > LOOKS):
            self.breach(3, f'{host} is fenced while its cell is down')
        if store.paused().paused:
            self.breach(3, f'{host} is fenced while recoveries are paused')
        if (mark := store.marks().get(host)) and mark.maintenance and not report.forced and not (
                mark.maintenance_until and mark.maintenance_until <= self._world.ours()):
            if (report.received_at - self._world.marked_at.get(host, report.received_at)
                    ).total_seconds() > 0:
                self.breach(3, f'{host} is fenced while in maintenance')
        self._begun[recovery_id] = word
        open_ = [r.host for r in store.recoveries(open_only=True)
                 if r.ended_at is None and self._begun.get(r.id) is False]
        limit = self._world.policy.limits.hosts
        if limit and len(open_) > max(limit, 1) and not word:
            self.breach(5, f'{", ".join(open_)} are dealt with at a time, the limit is {limit}, '
                           'and nobody was asked')

    def _on_move(self, payload):
        world, ident = self._world, payload['instance_id']
        if not payload['reason']:
            self.breach(2, f'{ident} is {payload["state"]}, and no reason is given')
        if payload['state'] != 'moved':
            return
        server = world.nova.servers_.get(ident)
        if server is None:
            return
        if server.host == payload['host']:
            self.breach(7, f'{ident} is said to have moved, and is on {server.host}')
        elif (server.vm_state == 'stopped') != (payload['was'] == 'stopped') and (
                world.nova.wanted[ident] == payload['was']) and not self._just(
                    world.changed_at, ident):
            self.breach(7, f'{ident} was {payload["was"]}, and is {server.vm_state}')

    def _on_recovery(self, payload):
        if not payload['reason']:
            self.breach(2, f'recovery {payload["id"]} is {payload["state"]}, and no reason is '
                           'given')
        if payload['state'] not in ('recovered', 'partial'):
            return
        world, named = self._world, {}
        for move in world.store.moves(payload['id']):
            named[move.instance_id] = move
            if move.state not in states.MOVE_FINAL:
                self.breach(2, f'recovery {payload["id"]} is over, and {move.name} is '
                               f'{move.state}')
        for server in world.nova.servers_.values():
            if server.host == payload['host'] and server.id not in named and not (
                    server.id in world.nova.hidden or self._just(world.shown_at, server.id)
                    or self._came_after_the_list(server)):
                self.breach(2, f'{server.id} is on {server.host}, and recovery {payload["id"]} '
                               'is over and has not named it')

    def _came_after_the_list(self, server):
        """Whether no list could show a guest: its host was read just now, and it was not there.

        That takes a nova-compute that runs again. If its host fails once more, it is on the list.
        """
        nova = self._world.nova
        at, there = nova.listed.get(server.host, (None, ()))
        return at is not None and server.id not in there and (
            nova.clock() - at).total_seconds() <= LOOKS

    # -- how it is ------------------------------------------------------------------------------
    def _two_writers(self):
        if self._unsafe:
            return
        nova = self._world.nova
        for ident, hosts in nova.copies.items():
            if len(hosts) > 1 and len(writing := nova.writers(ident)) > 1 and not any(
                    map(self._excused, writing)):
                self.breach(1, f'{ident} is written to from {", ".join(sorted(writing))}')

    def _second_calls(self):
        nova = self._world.nova
        if len(nova.twice) > self._twice:
            self.breach(8, f'{", ".join(nova.twice[self._twice:])}: evacuated while being '
                           'evacuated')
            self._twice = len(nova.twice)
        if self._world.ceph and self._world.ceph.lifted_foreign:
            self.breach(6, 'on the blocklist by somebody else, and lifted: '
                           f'{self._world.ceph.lifted_foreign}')

    def _left_behind(self):
        world = self._world
        store, nova = world.store, world.nova
        owned = {r.host for r in store.recoveries(unreleased=True)} | world.let_go
        known = store.marks()
        for name, host in nova.hosts.items():
            if host.forced_down and name not in nova.forced_by_others and name not in owned:
                self.breach(9, f'{name} is forced down by this service, and no recovery knows it')
            if host.enabled or name in nova.disabled_by_others:
                continue
            if host.reason.startswith(homecoming.DISABLED) and name not in owned:
                self.breach(9, f'{name} is disabled ({host.reason}), and no recovery knows it')
            if host.reason == marks.SPARE_REASON and not (known.get(name) and known[name].parked):
                self.breach(9, f'{name} is disabled as a spare, and nobody knows it')
        if world.ceph:
            for one in world.ceph.ranges - world.ceph.foreign:
                host = next((h for h, ip in world.ceph.ips.items() if one == f'{ip}/32'), one)
                if host not in owned:
                    self.breach(9, f'{one} ({host}) is on the blocklist, and no recovery knows it')
