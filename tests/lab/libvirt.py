"""libvirt and QEMU on a compute host that is a box, and Nova's driver for them there.

Every host has a libvirtd of its own. Guests are emulated: the machine need not have KVM.
"""

import pathlib
import subprocess
import textwrap
import uuid

from tests.lab.common import LabError

#: Under which id a host's libvirt keeps the key of each user of Ceph that guests' disks need.
SECRETS = {'nova': '6f0b8f3a-52ce-4d1c-9a57-0c8a5d2f7b11',
           'cinder': 'e1c7a9d4-3b60-4f88-8e2d-94d1f6a0c322'}

#: What a host has for itself of the machine's folders: ``{folder: name below the host's own}``.
PRIVATE = {'/etc/libvirt': 'libvirt/etc', '/var/lib/libvirt': 'libvirt/lib',
           '/var/cache/libvirt': 'libvirt/cache', '/var/log/libvirt': 'libvirt/log'}

_SECONDS = 30

# All of it runs as root, in namespaces of its own: nothing of what libvirt does to keep guests
# apart is needed, and part of it cannot work.
_QEMU_CONF = """\
    user = "root"
    group = "root"
    dynamic_ownership = 0
    remember_owner = 0
    security_driver = "none"
    stdio_handler = "file"
    cgroup_controllers = [ ]
    namespaces = [ ]
    """

_LIBVIRTD_CONF = """\
    host_uuid = "{host_uuid}"
    auth_unix_rw = "none"
    log_outputs = "3:stderr"
    """

_SECRET = """\
    <secret ephemeral="no" private="yes">
      <uuid>{uuid}</uuid>
      <usage type="ceph"><name>client.{user}</name></usage>
    </secret>
    """


def write_files(own):
    """Make the private folders below ``own``, the host's folder, and what libvirt reads there."""
    for name in PRIVATE.values():
        (own / name).mkdir(parents=True, exist_ok=True)
    etc = own / PRIVATE['/etc/libvirt']
    for name, text in (('qemu.conf', _QEMU_CONF),
                       ('libvirtd.conf', _LIBVIRTD_CONF.format(host_uuid=uuid.uuid4()))):
        (etc / name).write_text(textwrap.dedent(text), encoding='ascii')


def sections(address, helper, local):
    """What nova-compute is told: ``{section: {option: value}}``.

    :param address: the host's own
    :param helper: command that starts a privileged helper; there is no sudo in it
    :param local: whether root disks of new servers are files of the host, and not in Ceph
    """
    driver = {
        'virt_type': 'qemu', 'cpu_mode': 'none', 'inject_partition': -2,
        'images_type': 'raw' if local else 'rbd', 'images_rbd_pool': 'vms', 'rbd_user': 'nova',
        'rbd_secret_uuid': SECRETS['nova'],
    }
    return {
        'DEFAULT': {'my_ip': address, 'compute_driver': 'libvirt.LibvirtDriver',
                    'reserved_host_memory_mb': 0, 'sync_power_state_interval': 600,
                    # The guests do not listen when they are asked to shut down.
                    'shutdown_timeout': 2,
                    # Emulated guests that do little: more of them than cores.
                    'initial_cpu_allocation_ratio': 32},
        'libvirt': driver,
        'nova_sys_admin': {'helper_command': helper},
        'privsep_osbrick': {'helper_command': helper},
        'vif_plug_ovs_privileged': {'helper_command': helper},
    }


def answers(box):
    """Whether the libvirtd in a box does its work."""
    try:
        virsh(box, 'uri')
    except LabError:
        return False
    return True


def define_secrets(box, keys):
    """Give the libvirt in a box the keys of Ceph's users, for good.

    :param keys: ``{user: key}``
    """
    for user, key in keys.items():
        text = _SECRET.format(uuid=SECRETS[user], user=user)
        virsh(box, 'secret-define', '/dev/stdin', stdin=text)
        virsh(box, 'secret-set-value', SECRETS[user], '--file', '/dev/stdin', stdin=key)


def guests(box):
    """``{server id: pid}`` of the guests that a box has, running or frozen.

    Asks nobody: libvirtd need not be there.
    """
    found = {}
    for pid in box.pids():
        try:
            words = pathlib.Path(f'/proc/{pid}/cmdline').read_text(encoding='utf-8').split('\0')
        except OSError:
            continue                    # it has ended since
        if words[0].endswith('/qemu-system-x86_64') and '-uuid' in words:
            found[words[words.index('-uuid') + 1]] = pid
    return found


def virsh(box, *words, stdin=''):
    """Run virsh in a box, and return what it prints.

    :raises LabError: it failed, or hangs
    """
    shown = f'virsh {words[0]} on {box.host}'
    try:
        done = subprocess.run(box.command(['virsh', '-q', *words]), input=stdin, text=True,
                              capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError(f'{shown}: not finished after {_SECONDS} s') from error
    if done.returncode:
        raise LabError(f'{shown}: {done.stderr.strip()}')
    return done.stdout
