"""What the tests of the contract have in common."""

import datetime

from tests.contract.stage import FLAVOR
from tests.contract.stage import SOURCE
from tests.contract.stage import TARGET
from vmha_nova import exception

SECOND = 1.2                            # Nova keeps its times in whole seconds


class Contract:
    """What the tests have in common. Who runs them has ``make_stage()``, which returns a Stage."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stage = cls.make_stage()
        cls.addClassCleanup(cls.stage.close)
        cls.nova = cls.stage.nova
        cls.scene()

    @classmethod
    def scene(cls):
        """What there is for all tests of the class."""

    # -- how it is ------------------------------------------------------------------------------
    @classmethod
    def service(cls, host):
        return next(s for s in cls.nova.services() if s.host == host)

    @classmethod
    def id_of(cls, host):
        return cls.service(host).id

    def look(self, ident):
        """What a server is like, in short."""
        found = self.nova.server(ident)
        return found.host, found.vm_state, found.task_state

    def record(self, ident):
        """The only evacuation record of a server, None."""
        found = [r for r in self.nova.evacuations(SOURCE) if r.instance_id == ident]
        self.assertLess(len(found), 2)
        return found[0] if found else None

    def used(self, host):
        provider = next(h.id for h in self.nova.hypervisors() if h.host == host)
        used = self.nova.providers()[provider].used
        return {name: used[name] for name in FLAVOR}

    @staticmethod
    def plus(used, count):
        return {name: amount + count * FLAVOR[name] for name, amount in used.items()}

    @classmethod
    def wait(cls, what, condition, seconds=30):
        end = cls.stage.now() + datetime.timedelta(seconds=seconds)
        while not (found := condition()):
            if cls.stage.now() > end:
                raise AssertionError(f'not within {seconds} s: {what}')
            cls.stage.pause(0.2)
        return found

    def stays(self, expected, condition, seconds=3):
        end = self.stage.now() + datetime.timedelta(seconds=seconds)
        while self.stage.now() < end:
            self.assertEqual(expected, condition())
            self.stage.pause(0.5)

    # -- what is done ---------------------------------------------------------------------------
    def refused(self, code, act, *arguments, error=exception.Rejected):
        with self.assertRaises(exception.VmhaError) as caught:
            act(*arguments)
        self.assertIs(error, type(caught.exception), caught.exception)
        self.assertEqual(code, caught.exception.code, caught.exception)

    def unknown(self, act, *arguments, error=exception.Unreachable):
        with self.assertRaises(exception.VmhaError) as caught:
            act(*arguments)
        self.assertIs(error, type(caught.exception), caught.exception)

    @classmethod
    def fail_source(cls):
        """The source dies and is forced down, if it is not yet."""
        cls.stage.kill(SOURCE)
        if not cls.service(SOURCE).forced_down:
            cls.nova.force_down(cls.id_of(SOURCE), True)

    @classmethod
    def landed(cls, ident, target):
        """Wait until a server is there for good."""
        cls.wait(f'{ident} on {target}', lambda: (
            cls.nova.server(ident).host == target and not cls.nova.server(ident).task_state
            and any(r.status == 'done' for r in cls.nova.evacuations(SOURCE)
                    if r.instance_id == ident)))

    def taken(self, act, *arguments):
        """Act, and fail where that is refused."""
        try:
            act(*arguments)
        except exception.VmhaError as e:
            self.fail(str(e))

    def evacuated(self, ident, target=TARGET):
        self.taken(self.nova.evacuate, ident, target)
        self.landed(ident, target)
        return self.nova.server(ident)
