#!/usr/bin/env bash
# See vmha_nova work, on a plain Debian 12 (or any Debian-like system with Python >= 3.11).
# See --help.

set -u -o pipefail

usage() {
    cat <<'TEXT'
usage: tools/quickstart.sh [--hosts N] [--spares N] [--servers N] [--stopped N]
                           [--storage none|ceph] [--database sqlite|mariadb] [--timeout S]
                           [--report FILE] [--plain] [--keep] [--dir DIR]

Brings up a small OpenStack cloud on this machine (real but for the hypervisor, which is Nova's
fake one), starts vmha_nova beside it, kills a compute host, reports it as down, and shows how its
servers come to run elsewhere. In the end Nova is asked what became of every server.

Needs Debian 12 or alike, root or sudo, 4 GB of memory, 3 GB of disk and the network. Installs
what is missing: Debian packages, and Python packages in environments of their own below
~/.cache/vmha-lab. The first run takes about five minutes on two cores, later ones half of that.

With --storage ceph nothing is fake: the cloud has a real Ceph, libvirt and real guests (emulated, no
KVM needed), each of which counts on its disk and shows that nothing it had written was lost. That
must be root, and takes 8 GB of memory and 10 GB of disk.

  --hosts N       compute nodes (4)
  --spares N      of these, spare ones, kept free for recoveries (1)
  --servers N     servers on compute1, the host that dies (20)
  --stopped N     of these, stopped ones (2)
  --storage none|ceph
                  ceph: four real guests: two with a root disk on RBD, one on a Cinder volume, one
                  with a local disk, which is left alone (none)
  --database sqlite|mariadb
                  vmha_nova's own database (sqlite)
  --timeout S     seconds that the recovery may take (300)
  --report FILE   write what happened as JSON
  --plain         print lines, also on a terminal
  --keep          leave everything running in the end, and say how to use it
  --dir DIR       folder of the cloud (~/.cache/vmha-lab/quickstart)
  -h, --help      this text

The exit status is 0 only if every server has left the dead host for the one named for it, by one
evacuation, in the power state it had; and, with --storage ceph, has lost nothing.

Environment: PYTHON names the interpreter of vmha_nova, XDG_CACHE_HOME the folder of caches.
TEXT
}

for option in "$@"; do
    case $option in
        -h|--help) usage; exit 0 ;;
    esac
done

exec </dev/null
began=$(date +%s.%N)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vmha-lab
log=$cache/project-venv.log
# shellcheck source=tools/common.sh
. "$root/tools/common.sh"

say() { printf '[%6.1f s] %s\n' "$(awk "BEGIN { print $(date +%s.%N) - $began }")" "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    if [ -s "$log" ]; then
        printf -- '--- the end of %s:\n' "$log" >&2
        tail -n 15 "$log" | sed 's/^/    /' >&2
    fi
    exit 1
}

# -- what the system has to have ----------------------------------------------------------------

prepare_system() {
    local wanted=() apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600)
    find_python >/dev/null || wanted+=(python3 python3-venv)
    [ ! -e "$root/.git" ] || command -v git >/dev/null || wanted+=(git)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || wanted+=(ca-certificates)
    [ ${#wanted[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "no apt-get here: install ${wanted[*]}, then try again"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "${wanted[*]} must be installed: be root, or have sudo"
        apt=(sudo -n "${apt[@]}")
    fi
    say "installing ${wanted[*]} ..."
    { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${wanted[@]}"; } \
        >>"$log" 2>&1 || fail "could not install ${wanted[*]}"
}

# -- the environment of vmha_nova and of the lab's own code ---------------------------------------

# Print the path of a uv: the one that is installed, or one in an environment of its own, which the
# lab uses as well. It installs several times as fast as pip.
find_uv() {
    command -v uv && return
    [ -x "$cache/uv/bin/uv" ] \
        || { "$python" -m venv --clear "$cache/uv" \
             && "$cache/uv/bin/python" -m pip install --no-input uv; } >>"$log" 2>&1 \
        || return
    echo "$cache/uv/bin/uv"
}

# Named after all that it is made of; complete when it has its stamp.
prepare_venv() {
    local stamp uv constraints=$root/tools/constraints.txt
    stamp=$({ "$python" -VV; echo "$root"
              cat "$root"/{setup.cfg,pyproject.toml,tools/constraints.txt,tools/quickstart.sh}
            } | sha256sum | cut -c 1-12)
    venv=$cache/project-venv-$stamp
    [ -e "$venv/complete" ] && return
    say "vmha_nova and what it needs, into $venv ..."
    uv=$(find_uv) || fail 'could not install uv'
    rm -rf "$venv"
    { "$uv" venv --python "$python" "$venv" \
        && VIRTUAL_ENV=$venv UV_HTTP_TIMEOUT=180 UV_SYSTEM_CERTS=true "$uv" pip install \
            --compile-bytecode --constraint "$constraints" --build-constraint "$constraints" \
            --editable "${root}[mysql,service]" requests rich
    } >>"$log" 2>&1 || fail 'could not make the Python environment of vmha_nova'
    touch "$venv/complete"
}

mkdir -p "$cache" || exit 1
# Another one at the same time waits until everything is installed.
exec 9>"$cache/project-venv.lock"
flock 9 || exit 1
: >"$log"
prepare_system
python=$(find_python) || fail 'no Python >= 3.11 with the modules venv and ensurepip'
prepare_git ""
prepare_venv
exec 9>&-
export VMHA_QUICKSTART_BEGAN=$began PYTHONPATH=$root
# -P: a folder "tests" where the caller happens to be is not meant.
exec "$venv/bin/python" -P -m tests.lab.quickstart "$@"
