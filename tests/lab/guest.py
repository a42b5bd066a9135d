"""A guest small enough for emulation, which counts on its disk: see inside/counter.c.

Its clock is set from the host's when it boots, to the second; what is compared with the host's
clock is compared with that much tolerance.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess

from tests.lab.common import built
from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab.common import run

#: Debian packages that building it needs.
PACKAGES = ('gcc', 'libc6-dev', 'binutils', 'dpkg')
SLOT, RING = 4096, 8192
#: What Nova's image says for it, besides kernel and ramdisk.
COMMAND_LINE = 'console=ttyS0 quiet'

_SOURCE = pathlib.Path(__file__).with_name('inside') / 'counter.c'
_KERNEL = 'linux-image-cloud-amd64'
_MODULES = ('virtio/virtio', 'virtio/virtio_ring', 'virtio/virtio_pci_legacy_dev',
            'virtio/virtio_pci_modern_dev', 'virtio/virtio_pci', 'block/virtio_blk')
_SECONDS = 300
_LINE = re.compile(r'VMHA (START|COUNT|IOERROR) (\d+) boot=([0-9a-f]{16}) t=([0-9.]+)')
_RECORD = re.compile(rb'VMHA (\d+) ([0-9a-f]{16}) (\d+) ([0-9.]+) \d\n')


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the console: START (count: what was on the disk), COUNT or IOERROR."""

    what: str
    count: int
    boot: str
    time: float                         # of the guest's clock, seconds since 1970


@dataclasses.dataclass(frozen=True)
class Record:
    """A slot of the disk; ``found``: the number that its writer had found when it started."""

    count: int
    boot: str
    found: int
    time: float


def console(text):
    """The Lines of a console; others, and one that is not complete, are left out."""
    whole = text[:text.rfind('\n') + 1]
    return [Line(what, int(count), boot, float(time))
            for what, count, boot, time in _LINE.findall(whole)]


def records(disk):
    """The Records in the ring of a disk, by number; ``disk`` is the content of its beginning."""
    found = [_RECORD.match(disk[at:at + 100])
             for at in range(SLOT, min(len(disk), (RING + 1) * SLOT), SLOT)]
    return sorted((Record(int(m[1]), m[2].decode(), int(m[3]), float(m[4])) for m in found if m),
                  key=lambda record: record.count)


def overlaps(found):
    """Pairs of boots that wrote to one disk at the same time, by its Records; there must be none.

    Whoever starts goes on from the last number that was written. If an earlier boot has written
    a higher one, it did so after that. (Their clocks would not tell: they differ by a second.)
    """
    start = {record.boot: record.found for record in found}
    last = {}
    for record in found:
        last[record.boot] = max(last.get(record.boot, 0), record.count)
    return [(one, two) for one in start for two in start
            if one != two and start[one] <= start[two] < last[one]]


def build(progress=None):
    """Build it, unless that was done: paths of its kernel and of its initial ramdisk.

    :raises LabError: the packages are missing, or the kernel cannot be had
    """
    ident = hashlib.sha256(_SOURCE.read_bytes() + pathlib.Path(__file__).read_bytes())
    target = cache_dir() / f'guest-{ident.hexdigest()[:12]}'
    with locked(cache_dir() / 'guest.lock'):
        if not target.exists():
            if progress is not None:
                progress('building the guest: Debian\'s kernel and one program')
            with built(target) as partial:
                partial.mkdir()
                _build(partial, cache_dir() / 'guest.log')
    return target / 'vmlinuz', target / 'initrd'


def _build(folder, log):
    name = _kernel_package()
    # As root, apt would first try to become a user who may not write here.
    run(['/usr/bin/env', '-C', folder, 'apt-get', '-q', '-o', 'APT::Sandbox::User=root',
         'download', name], log, _SECONDS)
    archive = next(folder.glob('*.deb'))
    run(['/usr/bin/dpkg-deb', '-x', archive, folder / 'x'], log, _SECONDS)
    run(['gcc', '-O2', '-static', '-Wall', '-Wextra', '-o', folder / 'init', _SOURCE], log,
        _SECONDS)
    files = {'init': (folder / 'init').read_bytes()}
    for module in _MODULES:
        path = next((folder / 'x').glob(f'lib/modules/*/kernel/drivers/{module}.ko'))
        run(['strip', '-g', path], log, _SECONDS)
        files[f'modules/{path.name}'] = path.read_bytes()
    (folder / 'initrd').write_bytes(cpio(files))
    next((folder / 'x' / 'boot').glob('vmlinuz-*')).rename(folder / 'vmlinuz')
    archive.unlink()
    run(['rm', '-r', folder / 'x', folder / 'init'], log, _SECONDS)


def _kernel_package():
    """The package that Debian's newest kernel for clouds is in."""
    try:
        said = subprocess.run(['apt-cache', 'depends', _KERNEL], capture_output=True, text=True,
                              check=True, timeout=60, env={**os.environ, 'LC_ALL': 'C'}).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f'apt-cache depends {_KERNEL}: {error}') from error
    found = re.search(r'Depends: (linux-image-\S+)', said)
    if not found:
        raise LabError(f'no kernel: apt knows no {_KERNEL}; is its list of packages there?')
    return found[1]


def cpio(files):
    """An archive as the kernel unpacks it into its first root: ``{path: content}``, executable."""
    entries = {path.rpartition('/')[0]: None for path in files if '/' in path}
    return b''.join(_entry(number, path, content) for number, (path, content) in enumerate(
        [*entries.items(), *files.items(), ('TRAILER!!!', b'')], 1))


def _entry(number, path, content):
    mode = 0o040755 if content is None else 0o100755
    content = content or b''
    name = path.encode() + b'\0'
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b'070701' + b''.join(b'%08X' % field for field in fields) + name
    return _padded(head) + _padded(content)


def _padded(data):
    return data + b'\0' * (-len(data) % 4)
