"""A Ceph without a cloud: hosts in boxes with an OSD each, for tests of what speaks to Ceph.

usage: python -m tests.lab.storage up|down|status [--dir DIR] [--hosts N]
"""

import argparse
import contextlib
import json
import pathlib
import secrets
import shutil
import signal
import sys

from tests.lab.box import Box
from tests.lab.ceph import Cluster
from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import wait_until
from tests.lab.network import Network
from tests.lab import packages
from tests.lab import process

_SIGN = '.vmha-storage-lab'


class StorageLab:
    """The lab in a folder.

    :ivar network: its Network
    :ivar boxes: ``{host: Box}``
    :ivar ceph: its Cluster
    """

    def __init__(self, folder, mark, hosts):
        self.folder = pathlib.Path(folder).absolute()
        self.mark = mark
        self.network = Network(f'vmha{mark[:4]}', hosts)
        self.boxes = {host: Box(host, self.network, self.folder / 'hosts' / host, mark,
                                {'/etc/ceph': 'ceph'}) for host in hosts}
        self.ceph = Cluster(self.folder / 'ceph', self.network, self.boxes, mark)

    @classmethod
    def up(cls, folder, hosts=4, progress=None, without=()):
        """Bring a lab up, and move this process into its control node's namespace.

        :param without: names of hosts that get no OSD yet
        :raises LabError: a step failed; then nothing is left running
        """
        progress, folder = progress or Progress(), pathlib.Path(folder)
        packages.ensure_packages(progress, packages.CEPH)
        if (folder / _SIGN).exists():
            raise LabError(f'there is one in {folder}: take it down first')
        folder.mkdir(parents=True, exist_ok=True)
        lab = cls(folder, secrets.token_hex(8), [f'compute{n}' for n in range(1, hosts + 1)])
        (folder / _SIGN).write_text(json.dumps({'mark': lab.mark, 'hosts': list(lab.boxes)}),
                                    encoding='ascii')
        try:
            with progress.phase('network and hosts'):
                lab.network.up()
                for box in lab.boxes.values():
                    box.start()
            lab.network.enter()
            with progress.phase('Ceph'):
                lab.ceph.create(without)
                for host in lab.boxes:
                    lab.ceph.write_client_conf(folder / 'hosts' / host / 'ceph', host)
                lab.ceph.wait_clean()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def load(cls, folder):
        """The lab that is up in a folder; moves this process into its namespace.

        :raises LabError: there is none
        """
        try:
            known = json.loads((pathlib.Path(folder) / _SIGN).read_text(encoding='ascii'))
        except FileNotFoundError as error:
            raise LabError(f'no lab in {folder}') from error
        return cls(folder, known['mark'], known['hosts'])

    def down(self):
        """Stop everything, remove the folder, and leave its network."""
        self.network.leave()
        for box in self.boxes.values():
            box.kill()
        self.ceph.stop()
        process.kill_strays(self.mark)
        wait_until('the end of all processes', lambda: not process.strays(self.mark), 10)
        self.network.down()
        shutil.rmtree(self.folder)

    def kill_host(self, host):
        """Pull the power cord of a host."""
        self.boxes[host].kill()

    def start_host(self, host):
        """Power a host on again, and start its OSD."""
        self.boxes[host].start()
        self.ceph.start_osd(host)


@contextlib.contextmanager
def storage_lab(folder, hosts=4, progress=None):
    """Within, a StorageLab is up."""
    lab = StorageLab.up(folder, hosts, progress)
    try:
        yield lab
    finally:
        lab.down()


def main(arguments=None):
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab.storage', description=__doc__)
    parser.add_argument('command', choices=('up', 'down', 'status'))
    parser.add_argument('--dir', type=pathlib.Path, default=cache_dir() / 'storage')
    parser.add_argument('--hosts', type=int, default=4)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.command == 'up':
            lab = StorageLab.up(options.dir, options.hosts)
            print(f'conf_file {lab.ceph.conf_file}\n'
                  f'inside:   {" ".join(lab.network.exec_prefix("ctl"))} …')
        elif options.command == 'down':
            StorageLab.load(options.dir).down()
        else:
            lab = StorageLab.load(options.dir)
            lab.network.enter()
            print(json.dumps(lab.ceph.command('status')['osdmap'], indent=2))
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
