"""The part of the collector that knows the instances."""

import dataclasses
import datetime
import itertools
import types

from vmha_nova import exception

ASKED = 8                               # servers asked for by themselves with one list of changes


class Instances:
    """The instances of the snapshot, from lists that overlap in time.

    ``between`` is called between the pages of a long list; ``cells_answer()`` says whether Nova
    could reach all its cells lately.
    """

    def __init__(self, nova, clock, settings, board, between, cells_answer):
        self._nova = nova
        self._clock = clock
        self._settings = settings
        self._board = board
        self._between = between
        self._cells_answer = cells_answer
        # Each list has a number, taken when it starts. What it shows of an instance never
        # replaces what a list with a higher number showed.
        self._numbers = itertools.count()
        self._number = {}                       # instance id -> number, of those gone as well
        self._doubtful = set()                  # ids of instances with known=False
        self._asked = set()                     # ids to be asked for with the next changes
        self._unseen = {}                       # id -> since when full lists lack it
        self.mark = None                        # what changed before is surely in the snapshot
        self.incomplete = False                 # the full list was without some cell; see there

    def look_at_changes(self):
        """The servers that changed since the last list."""
        started, number = self._clock(), next(self._numbers)
        whole = self._cells_answer()
        with self._board.noting('servers'):
            # Counted from the start of the list before, as its pages were old when it ended; and
            # from no later than now, whatever was done to our clock in between.
            since = min(self.mark, started) - datetime.timedelta(seconds=self._settings.overlap)
            listed = self._nova.servers(changes_since=since)
        with self._board.lock:
            self._take(number, listed, started)
            # Here Nova leaves out cells that are down without a word. While there are such, what
            # changes in them is missed: keep asking from where all cells last answered.
            if whole and self._cells_answer() and not self.incomplete:
                self.mark = started
                self._be_sure()
        self._look_up_asked()

    def ask(self, instance_id):
        """See Collector.ask."""
        self._asked.add(instance_id)

    def look_at_all(self):
        """All servers; some of those the snapshot has and the list lacks are asked for."""
        started, number = self._clock(), next(self._numbers)
        whole, before = self._cells_answer(), self._board.snapshot.instances
        with self._board.noting('servers'):
            listed = self._nova.servers(between=self._between)
        with self._board.lock:
            self._take(number, listed, started)
            self._board.note('unknown servers', (
                'Nova lists servers of cells that are down: what is known of them is old')
                if listed.unknown else '')
            self._board.note('records', '; '.join(listed.problems))
            whole = whole and self._cells_answer()
            # To be done again before long: a first list without some cell, and one that lacks a
            # cell of which the services were there, so that they will not tell when it is back.
            self.incomplete = self.mark is None if not whole else bool(listed.unknown)
            if self.mark is None or (whole and not listed.unknown):
                self.mark = max(started, self.mark or started)
            held = self._board.snapshot.instances
            lacking = before.keys() - {i.id for i in listed.instances} - listed.unknown
            self._unseen = {id: self._unseen.get(id, started) for id in lacking if id in held}
            self._number = {id: n for id, n in self._number.items() if id in held or n > number}
        oldest = sorted(self._unseen, key=lambda id: (self._unseen[id], id))
        asked = oldest[:self._settings.max_lookups]
        failed = self._look_up(asked)
        for instance_id in asked:       # whatever came out, the others are next
            self._unseen.pop(instance_id)
        self._board.note('missing servers', failed and f'missing servers: {failed}')

    def _look_up_asked(self):
        """Some of those that were asked for; one that cannot be read is asked for again."""
        problem = ''
        for _ in range(min(ASKED, len(self._asked))):
            instance_id = self._asked.pop()
            try:
                self.is_gone(instance_id)
            except exception.VmhaError as error:
                self._asked.add(instance_id)
                problem = f'servers whose disks changed: {error}'
                break
        self._board.note('changed disks', problem)

    def reconcile(self, host):
        """See Collector.reconcile."""
        number = next(self._numbers)
        before = self._board.snapshot.by_host.get(host, frozenset())
        listed = self._nova.servers(host=host)
        self._apply(number, listed.instances, listed.deleted)
        lacking = before - {i.id for i in listed.instances} - listed.deleted
        self._look_up(sorted(lacking))
        return self._board.snapshot.on(host)

    def is_gone(self, instance_id):
        """See Collector.is_gone."""
        number = next(self._numbers)
        try:
            self._apply(number, (self._nova.server(instance_id),))
        except exception.NotFound:
            self._apply(number, gone=(instance_id,))
            return True
        return False

    def doubt(self, ids):
        """Keep the last that is known of these instances, and say that it may be old."""
        with self._board.lock:
            held = self._board.snapshot.instances
            changed = {id: dataclasses.replace(held[id], known=False)
                       for id in ids if id in held and held[id].known}
            self._doubtful.update(changed)
            self._publish(changed)

    def _be_sure(self):
        """What was doubtful has been read again by now, or has not changed."""
        held = self._board.snapshot.instances
        self._publish({id: dataclasses.replace(held[id], known=True)
                       for id in self._doubtful if id in held})
        self._doubtful.clear()

    def _look_up(self, ids):
        """GET these servers one by one; returns the last error in words, or ''.

        Those that cannot be read stay as they are, in doubt. One broken record must not keep the
        others from being looked at; two failures in a row mean that Nova is in trouble itself.
        """
        failed, in_a_row = '', 0
        for instance_id in ids:
            try:
                if in_a_row < 2:
                    self.is_gone(instance_id)
                    in_a_row = 0
                else:
                    self.doubt((instance_id,))
            except exception.VmhaError as error:
                failed, in_a_row = str(error), in_a_row + 1
                self.doubt((instance_id,))
        return failed

    def _take(self, number, listed, started):
        self._apply(number, listed.instances, listed.deleted)
        self.doubt(listed.unknown)
        last = self._board.snapshot.instances_at
        self._board.publish(instances_at=max(started, last or started))

    def _apply(self, number, found=(), gone=()):
        """Put instances into the snapshot as list ``number`` shows them; ``gone``: ids."""
        with self._board.lock:
            held, changed = self._board.snapshot.instances, {}
            self.doubt(instance.id for instance in found if not instance.known)
            for instance in found:
                if instance.known and self._is_newest(instance.id, number):
                    self._doubtful.discard(instance.id)
                    if held.get(instance.id) != instance:
                        changed[instance.id] = instance
            for instance_id in gone:
                if self._is_newest(instance_id, number) and instance_id in held:
                    self._doubtful.discard(instance_id)
                    changed[instance_id] = None
            self._publish(changed)

    def _is_newest(self, instance_id, number):
        if self._number.get(instance_id, -1) > number:
            return False
        self._number[instance_id] = number
        return True

    def _publish(self, changed):
        if changed:
            self._board.publish(**_with_changes(self._board.snapshot, changed))


def _with_changes(cluster, changed):
    """``instances`` and ``by_host`` of a Cluster with instances replaced or, by None, removed."""
    instances = cluster.instances.copy()
    left, come = {}, {}
    for instance_id, new in changed.items():
        old = instances.pop(instance_id, None)
        if new is not None:
            instances[instance_id] = new
        was, now = old.host if old else '', new.host if new else ''
        if was != now:
            left.setdefault(was, set()).add(instance_id)
            come.setdefault(now, set()).add(instance_id)
    fields = {'instances': types.MappingProxyType(instances)}
    if left:
        by_host = cluster.by_host.copy()
        for host in left.keys() | come.keys():
            ids = (by_host.pop(host, frozenset()) - left.get(host, set())) | come.get(host, set())
            if host and ids:
                by_host[host] = frozenset(ids)
        fields['by_host'] = types.MappingProxyType(by_host)
    return fields
