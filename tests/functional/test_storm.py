"""Three of four hosts die at once: nothing begins until an operator says so."""

from tests.functional import api_case


class StormTest(api_case.ApiTest):
    """The one that is left has room for most of what was on the others, and not for all."""

    DEAD = ('compute1', 'compute2', 'compute3')
    EACH = 2                            # servers on a host
    ROOM = 4                            # of all of them
    LARGE = 256                         # MiB that a server takes

    def test_held_then_approved_as_far_as_there_is_room_and_the_rest_is_named(self):
        large = self.flavor('storm', self.LARGE)
        self.cloud.boot(self.SPARE, 1, name='filler', flavor=self.flavor(
            'filler', self.memory(self.SPARE) - self.ROOM * self.LARGE - self.LARGE // 2))
        names = {}
        for host in self.DEAD:
            for server in self.cloud.boot(host, self.EACH, name=f'on-{host}', flavor=large):
                names[server['id']] = server['name']
        self.start()
        self.wait_snapshot(self.EACH)
        for host in self.DEAD:
            self.lab.kill_host(host)
        for host in self.DEAD:
            self.vmha.publish_host_down(host, 'no answer', 'test')

        held = self.wait('all three are held', lambda: [
            r for r in self.store.recoveries() if r.state == 'held'
            and 'approve' in r.reason][2:] and self.store.recoveries(), 60)
        self.assertEqual(set(self.DEAD), {r.host for r in held})
        for recovery in held:
            self.assertRegex(recovery.reason, '3 of 4 hosts of the cloud have failed')
        storms = [e for e in self.store.events() if 'STORM' in e.text]
        self.assertEqual(1, len(storms), storms)
        for host in self.DEAD:
            self.assertFalse(self.cloud.service(host)['forced_down'])
            self.assertEqual([], self.cloud.migrations(host))

        self.ask('recovery', 'approve', '--all')
        self.wait('what has room has moved', lambda: len(self.found('moved')) == self.ROOM, 240)
        # Who was sent at the same moment may have been refused by Nova first.
        self.wait('the rest is named', lambda: [
            m for m in self.found('unplaced').values()
            if f'1 host lacks MEMORY_MB ({self.SPARE})' in m.reason
        ][len(names) - self.ROOM - 1:], 90)
        left = self.found('unplaced')
        self.assertEqual(len(names) - self.ROOM, len(left))
        where = {s['id']: s['OS-EXT-SRV-ATTR:host'] for s in self.cloud.servers()}
        for ident, move in self.found('moved').items():
            self.assertEqual(self.SPARE, where[ident], move)
        for ident, move in left.items():
            self.assertIn(where[ident], self.DEAD, move)
        self.wait('what is left waits, and is seen to', lambda: self.ask(
            'recovery', 'list', '--state', 'held'), 60)

    def found(self, state):
        """The moves of all recoveries that are in a state: {instance id: Move}."""
        return {m.instance_id: m for r in self.store.recoveries()
                for m in self.store.moves(r.id) if m.state == state}
