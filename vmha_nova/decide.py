"""Pure: what goes where when hosts fail. No I/O, no clock, no configuration object.

**Load after placement**, by which nodes of a tier are compared, is the mean of two shares:

- allocated: the largest of the shares of MEMORY_MB, VCPU and DISK_GB that are spoken for, with
  what Placement counts, what moves under way and this plan put there, and the instance itself;
- CPU: the measured share while the measurement counts, plus the VCPU share of everything it
  cannot contain yet (moves under way, this plan, the instance); without a measurement the
  allocated share of VCPU.

Guests may claim what is allocated and take what is measured, so a node full of idle guests and a
half-full one with busy guests are both not the best choice; the mean lets each count, and can be
worked out again by hand. Capacities contain the allocation ratios.

**Size**, by which instances of one priority are ordered, is the largest share of its failed
host's capacity that an instance needs in any resource class. Where that capacity is not known,
what all instances of the host need together stands for it.

The search is greedy: an instance placed is not moved again to make room for a later one.
"""

import collections
import datetime
import heapq
import typing

from vmha_nova import model
from vmha_nova import rules

# Others ask these of decide; where they are written is not their concern.
leave_reason = rules.leave_reason
target_problem = rules.target_problem


def decide(cluster: model.Cluster, failed: typing.Sequence[model.Failed], policy: model.Policy,
           now: datetime.datetime) -> model.Plan:
    """Give every instance of the failed hosts a target, or the reason why it has none.

    Settled instances are left out; all others have exactly one placement. The placements come in
    the order in which they are to be sent: priority, size, id. ``Plan.spares`` comes in the order
    of first use. The same arguments give the same plan, whatever the order of their mappings.
    """
    return _Draft(_Survey(cluster, policy, now), failed).plan()


def each_alone(cluster: model.Cluster, policy: model.Policy, now: datetime.datetime,
               ) -> typing.Callable[[str], model.Plan]:
    """What if this host, and no other, died now? A function of the host, for many of them.

    A call takes about as long as placing the instances of the host does.
    """
    survey = _Survey(cluster, policy, now)
    return lambda host: _Draft(survey, [model.Failed(host)]).plan()


def load(node: model.ComputeNode, policy: model.Policy, now: datetime.datetime) -> float:
    """The load of a node as it is: see the module's docstring."""
    return _Survey(model.Cluster(), policy, now).load(node)


class _Survey:
    """What holds whichever host fails, worked out when it is first asked for."""

    def __init__(self, cluster, policy, now):
        self.cluster = cluster
        self.policy = policy
        self._now = now
        self._named = rules.named_projects(cluster.nodes.values())
        self._problems = {}             # host -> reason
        self._states = {}               # host -> (load, what it depends on)
        self._candidates = {}           # (spare, wants) -> hosts in alike groups
        self._rankings = {}             # (spare, wants, needs) -> _Ranking
        self._refused = {}              # wants -> {reason: hosts}
        self._tiers = collections.defaultdict(list)     # (spare, zone) -> nodes
        for node in cluster.nodes.values():
            self._tiers[node.spare, node.zone].append(node)

    def wants(self, instance, host):
        """As rules.wants, but equal for all projects that no node is reserved for."""
        wanted = rules.wants(instance, self.cluster.nodes.get(host), self.policy)
        if wanted.project in self._named:
            return wanted
        return wanted._replace(project=rules.ANY_OTHER if self._named else '')

    def problem(self, node):
        """As rules.target_problem, asked once for a node."""
        reason = self._problems.get(node.host)
        if reason is None:
            reason = rules.target_problem(node, self.policy, self._now)
            self._problems[node.host] = reason
        return reason

    def candidates(self, spare, wanted):
        """The nodes of a tier that are fit to be a target and wanted: [(load, hosts)], by load.

        The hosts of one entry are alike in all that load and room depend on, and in order. Idle
        nodes of the same kind are, by the thousand, and need not be looked at one by one.
        """
        key = (spare, wanted)
        if key not in self._candidates:
            alike = collections.defaultdict(list)
            for node in self._tiers[spare, wanted.zone]:
                if not self.problem(node) and not rules.match_problem(node, wanted):
                    alike[self._state(node)].append(node.host)
            self._candidates[key] = sorted(
                (state[0], tuple(sorted(hosts))) for state, hosts in alike.items())
        return self._candidates[key]

    def _state(self, node):
        state = self._states.get(node.host)
        if state is None:
            state = self._states[node.host] = (
                self.load(node), tuple(node.capacity.items()), tuple(node.used.items()),
                rules.measured(node, self.policy, self._now))
        return state

    def ranking(self, spare, wanted, needs):
        key = (spare, wanted, tuple(sorted(needs.items())))
        if key not in self._rankings:
            self._rankings[key] = _Ranking(self, self.candidates(spare, wanted), needs)
        return self._rankings[key]

    def refused(self, wanted):
        """Why nodes are no candidates, whatever has room: {reason: hosts}."""
        if wanted not in self._refused:
            refused = self._refused[wanted] = collections.defaultdict(list)
            for host, node in self.cluster.nodes.items():
                if reason := self.problem(node) or rules.match_problem(node, wanted):
                    refused[reason].append(host)
        return self._refused[wanted]

    def load(self, node, needs=model.NOTHING, extra=model.NOTHING):
        """The load of the node with ``needs`` and ``extra`` on it: see the module's docstring."""
        capacity, used, largest = node.capacity, node.used, 0.0
        for name in ('MEMORY_MB', 'VCPU', 'DISK_GB'):
            if total := capacity.get(name):
                share = (used.get(name, 0) + extra.get(name, 0) + needs.get(name, 0)) / total
                if share > largest:
                    largest = share
        cpu, total = rules.measured(node, self.policy, self._now), capacity.get('VCPU')
        arriving = extra.get('VCPU', 0) + needs.get('VCPU', 0)
        if cpu is None:
            cpu, arriving = 0.0, arriving + used.get('VCPU', 0)
        return (largest + (cpu + arriving / total if total else cpu)) / 2


class _Ranking:
    """Candidates that have room for ``needs``, by load with it, worked out as far as asked for.

    No node's load with ``needs`` is below its load without. So nodes are evaluated in the order
    of the latter, and the best evaluated one is the next as soon as it is below what the rest
    start from. Where nodes differ, that is after a few of thousands.
    """

    def __init__(self, survey, candidates, needs):
        self._survey = survey
        self._needs = needs
        self._rest = iter(candidates)
        self._next = next(self._rest, None)         # (load, hosts) not evaluated yet
        self._heap = []                             # evaluated: (load, host, position, hosts)
        self._ordered = []                          # what was given out

    def get(self, position):
        """(load, host) at that position, or None behind the last one."""
        heap = self._heap
        while len(self._ordered) <= position:
            while self._next and not (heap and heap[0][0] < self._next[0]):
                self._evaluate(self._next[1])
                self._next = next(self._rest, None)
            if not heap:
                return None
            load, host, at, hosts = heap[0]
            self._ordered.append((load, host))
            if at + 1 < len(hosts):
                heapq.heapreplace(heap, (load, hosts[at + 1], at + 1, hosts))
            else:
                heapq.heappop(heap)
        return self._ordered[position]

    def _evaluate(self, hosts):
        node = self._survey.cluster.nodes[hosts[0]]
        if not rules.room_problem(node, self._needs):
            load = self._survey.load(node, self._needs)
            heapq.heappush(self._heap, (load, hosts[0], 0, hosts))


class _Queue:
    """A ranking while a plan is made: the plan's own placements raise the load of some nodes.

    Entries are (load, placements by this plan, host). They only ever grow, so one that is out of
    date is found when it comes up, and is put back where it belongs now.
    """

    def __init__(self, draft, ranking, needs):
        self._draft = draft
        self._ranking = ranking
        self._needs = needs
        self._position = 0
        self._heap = []

    def pop(self):
        """The best entry, or None. It has room; push it back, used or not."""
        while True:
            entry, fresh = self._take(), None
            if entry is None:
                return None
            fresh = self._draft.entry(entry[2], self._needs)
            if fresh is not None and fresh <= entry:
                return entry
            if fresh is not None:
                self.push(fresh)

    def push(self, entry):
        heapq.heappush(self._heap, entry)

    def _take(self):
        ranked = self._ranking.get(self._position)
        if ranked is not None:
            ranked = (ranked[0], 0, ranked[1])
            if not self._heap or ranked < self._heap[0]:
                self._position += 1
                return ranked
        return heapq.heappop(self._heap) if self._heap else None


class _Draft:
    """A plan in the making."""

    def __init__(self, survey, failed):
        self._survey = survey
        self._cluster = survey.cluster
        self._hosts = dict.fromkeys(f.host for f in failed)
        self._tiers = (True,) if survey.policy.spares_only else (True, False)     # node.spare
        self._settled = frozenset().union(*(f.settled for f in failed))
        self._tried = collections.defaultdict(set)      # instance id -> hosts
        self._pledged = {}                              # instance id -> host
        self._bound = {}                                # the same, for server groups only
        self._extra = {}                                # host -> what is not in used yet
        self._placed = collections.Counter()            # host -> placements by this plan
        self._members = {}                              # group id -> {host: instance ids}
        self._queues = {}
        self._refused = {}                              # (source, wants, needs) -> reason
        for f in failed:
            self._pledged.update(f.pledged)
            self._bound.update(f.bound)
            for instance_id, hosts in f.tried.items():
                self._tried[instance_id] |= hosts
        for instance_id, host in self._pledged.items():
            if instance_id in self._cluster.instances:
                self._add(host, self._cluster.instances[instance_id].needs)

    def plan(self):
        placements, spares = [], {}
        for priority, _size, _id, host, instance in sorted(self._instances(), key=_order):
            target, reason, left = self._place(instance, host)
            complaint = rules.priority(instance)[1]
            placements.append(model.Placement(
                instance=instance, target=target, left=left, priority=priority,
                reason=f'{reason}; {complaint}' if complaint else reason))
            if target and self._cluster.nodes[target].parked:
                spares[target] = True
        return model.Plan(tuple(placements), tuple(spares))

    def _instances(self):
        """Yield (priority, size, id, failed host, instance) of every instance to decide on."""
        seen = set(self._settled)
        for host in self._hosts:
            instances = self._cluster.on(host)
            node = self._cluster.nodes.get(host)
            together = collections.Counter()
            for instance in instances:
                together.update(instance.needs)
            known = {name: amount for name, amount in node.capacity.items() if amount > 0} if (
                node) else {}
            whole = {**together, **known}
            for instance in instances:
                if instance.id not in seen:
                    seen.add(instance.id)
                    size = max((amount / whole[name] for name, amount in instance.needs.items()
                                if amount > 0), default=0.0)
                    yield rules.priority(instance)[0], size, instance.id, host, instance

    def _place(self, instance, host):
        """Return (target, reason, left)."""
        cluster, policy = self._cluster, self._survey.policy
        if instance.id in self._pledged:
            # Nova does not guard against a second evacuation during the first.
            return '', f'its move to {self._pledged[instance.id]} is under way', False
        if reason := rules.leave_reason(instance, cluster, policy):
            return '', reason, True
        if reason := rules.unknown_reason(instance, host, cluster, policy):
            return '', reason, False
        wanted = self._survey.wants(instance, host)
        needs = {name: amount for name, amount in instance.needs.items() if amount > 0}
        group = cluster.groups.get(cluster.group_of.get(instance.id))
        for spare in self._tiers:
            if entry := self._choose(instance, group, spare, wanted, needs):
                load, _count, target = entry
                self._add(target, needs)
                self._placed[target] += 1
                if group:
                    self._members_by_host(group)[target].add(instance.id)
                kind = 'spare' if spare else 'ordinary node'
                return target, f'{kind}, load {100 * load:.0f} % after placement', False
        return '', self._refusals(instance, host, group, wanted, needs), False

    def _choose(self, instance, group, spare, wanted, needs):
        """The best entry of a tier for the instance, or None."""
        if group and group.policy == 'soft-affinity':
            if entry := self._beside_members(instance, group, spare, wanted, needs):
                return entry
        queue = self._queue(spare, wanted, needs)
        best, least, seen = None, 0, []
        while entry := queue.pop():
            seen.append(entry)
            host = entry[2]
            if self._objection(instance, group, host):
                continue
            crowd = self._members_on(group, host) if (
                group and group.policy == 'soft-anti-affinity') else 0
            if best is None or crowd < least:
                best, least = entry, crowd
            if not crowd:
                break
        for entry in seen:
            queue.push(entry)
        return best

    def _beside_members(self, instance, group, spare, wanted, needs):
        """The best entry among the hosts that have most of the group's members, or None."""
        found = [(-len(members), entry)
                 for host, members in self._members_by_host(group).items()
                 if members and self._is_candidate(host, spare, wanted)
                 and not self._objection(instance, group, host)
                 and (entry := self.entry(host, needs))]
        return min(found)[1] if found else None

    def _is_candidate(self, host, spare, wanted):
        node = self._cluster.nodes.get(host)
        return node is not None and node.spare == spare and not (
            self._survey.problem(node) or rules.match_problem(node, wanted))

    def entry(self, host, needs):
        """(load, placements by this plan, host) with ``needs`` there, or None without room."""
        node, extra = self._cluster.nodes[host], self._extra.get(host, model.NOTHING)
        if rules.room_problem(node, needs, extra):
            return None
        return self._survey.load(node, needs, extra), self._placed[host], host

    def _objection(self, instance, group, host):
        """Why this instance may not go to that host; the reasons that are its own."""
        if host in self._hosts:
            return 'has failed itself'
        if host in self._tried.get(instance.id, ()):
            return 'has failed to take it before'
        return rules.group_problem(group, self._members_on(group, host) if group else 0)

    def _refusals(self, instance, source, group, wanted, needs):
        """Why every candidate was refused. Nodes only get fuller, so a reason stays true."""
        if group or instance.id in self._tried:
            return self._work_out_refusals(instance, source, group, wanted, needs)
        key = source, wanted, tuple(sorted(needs.items()))
        if key not in self._refused:
            self._refused[key] = self._work_out_refusals(instance, source, group, wanted, needs)
        return self._refused[key]

    def _work_out_refusals(self, instance, source, group, wanted, needs):
        nodes, tiers = self._cluster.nodes, self._tiers
        refusals = collections.defaultdict(list)
        for reason, hosts in self._survey.refused(wanted).items():
            hosts = [h for h in hosts if h not in self._hosts and nodes[h].spare in tiers]
            if hosts:
                refusals[reason] += hosts
        for host in self._hosts:
            if host != source and host in nodes and nodes[host].spare in tiers:
                refusals['has failed itself'].append(host)
        for _load, hosts in (c for spare in tiers for c in self._survey.candidates(spare, wanted)):
            full = rules.room_problem(nodes[hosts[0]], needs)
            for host in hosts:
                if host not in self._hosts:
                    refusals[self._objection(instance, group, host) or full or rules.room_problem(
                        nodes[host], needs, self._extra.get(host, model.NOTHING))].append(host)
        if refusals:
            note = '' if False in tiers else '; policy allows spares only'
            return f'no target: {rules.summary(refusals)}{note}'
        return 'no spare and no other node' if False in tiers else (
            'no spare, and policy allows no other node')

    def _queue(self, spare, wanted, needs):
        ranking = self._survey.ranking(spare, wanted, needs)
        if id(ranking) not in self._queues:
            self._queues[id(ranking)] = _Queue(self, ranking, needs)
        return self._queues[id(ranking)]

    def _add(self, host, needs):
        self._extra.setdefault(host, collections.Counter()).update(needs)

    def _members_on(self, group, host):
        return len(self._members_by_host(group).get(host, ()))

    def _members_by_host(self, group):
        """Where the group's members are, or are on their way to."""
        if group.id not in self._members:
            by_host = self._members[group.id] = collections.defaultdict(set)
            for instance_id in group.members:
                instance = self._cluster.instances.get(instance_id)
                host = self._pledged.get(instance_id) or self._bound.get(instance_id) or (
                    instance.host if instance else '')
                if host:
                    by_host[host].add(instance_id)
        return self._members[group.id]


def _order(item):
    priority, size, instance_id = item[:3]
    return -priority, -size, instance_id
