#!/usr/bin/env bash
# Run every test of this project on a plain Debian 12 (or any system with Python >= 3.11 and git).
# See --help.

set -u -o pipefail

usage() {
    cat <<'EOF'
usage: tools/run_tests.sh [--lint] [--unit] [--functional] [--storage] [--all] [--minutes N]

Installs what is missing (on Debian, with apt-get, as root or through sudo), makes a virtual
environment with tox in .tox-host, and runs tox. Without an option all four layers are run:

  --lint         tox -e pep8: ruff, hacking, bandit, codespell, shellcheck, bashate; counts as one test
  --unit         tox -e py3: the unit tests and the scenarios
  --functional   tox -e functional: tests that start the real processes
  --storage      tox -e storage: the same on a cloud with Ceph and libvirt, whose hosts lose power
                 or their network; takes root, 8 GB of memory, 10 GB of disk and Debian's own
                 Python (3.11). Without an option it is left out where there is no root
  --all          with the tests that take minutes each, all of --storage: every kind of failure,
                 and every way in which a host returns
  --minutes N    begin with no layer after so long; which ones are left out is said
  -h, --help     this text

What failed is named at the end, and the last line is 'N passed, N failed'. An environment that
cannot be made, a runner that breaks off and a layer without any test count as one failed test
each. The exit status is 0 only if something passed and nothing failed.

Environment: PYTHON names the interpreter to use.
EOF
}

lint='' unit='' functional='' storage='' minutes=''
while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
        --minutes)
            case ${1:-} in
                ''|*[!0-9]*) echo "--minutes takes a number" >&2; exit 2 ;;
            esac
            minutes=$1
            shift ;;
        --lint) lint=yes ;;
        --unit) unit=yes ;;
        --functional) functional=yes ;;
        --storage) storage=yes ;;
        --all) export VMHA_ALL=1 ;;
        -h|--help) usage; exit 0 ;;
        *) echo "unknown option: $option" >&2; usage >&2; exit 2 ;;
    esac
done
left_out=()
if [ -z "$lint$unit$functional$storage" ]; then
    lint=yes unit=yes functional=yes
    if [ "$(id -u)" -eq 0 ]; then
        storage=yes
    else
        left_out+=('storage: NOT RUN, it takes root')
    fi
elif [ -n "$storage" ] && [ "$(id -u)" -ne 0 ]; then
    echo '--storage makes network namespaces: be root' >&2
    exit 2
fi

exec </dev/null
cd "$(dirname "$0")/.." || exit 2
root=$PWD
host=$root/.tox-host
# shellcheck source=tools/common.sh
. "$root/tools/common.sh"
passed=0
failed=0
failures=()

say() { printf '\n== %s\n' "$*"; }

finish() {
    local layer
    for layer in "${left_out[@]}"; do
        say "$layer"
    done
    if [ ${#failures[@]} -gt 0 ]; then
        say 'failed:'
        printf '%s\n' "${failures[@]}"
    fi
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}

stop() {
    printf '\nERROR: %s\n' "$*"
    failed=$((failed + 1))
    finish
}

# shellcheck disable=SC2329
interrupted() {
    printf '\nERROR: interrupted\n%d passed, %d failed\n' "$passed" "$((failed + 1))"
    exit 130
}
trap interrupted INT TERM HUP

# -- what the system has to have ----------------------------------------------------------------

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_install() {
    local package missing=() as_root=()
    command -v dpkg-query >/dev/null || return
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "not root, and no sudo"; return 1; }
        as_root=(sudo -n)
    fi
    say "apt-get install ${missing[*]}"
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600)
    "${as_root[@]}" update
    "${as_root[@]}" install -y --no-install-recommends "${missing[@]}"
}

prepare_system() {
    local wanted=()
    find_python >/dev/null || wanted+=(python3 python3-venv)
    command -v git >/dev/null || wanted+=(git)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || wanted+=(ca-certificates)
    if [ ${#wanted[@]} -gt 0 ]; then
        apt_install "${wanted[@]}" || stop "could not install: ${wanted[*]}"
    fi
    python=$(find_python) || stop 'no Python >= 3.11 with the venv and ensurepip modules'
    command -v git >/dev/null || stop 'no git'
}

prepare_tox() {
    local stamp
    stamp="$("$python" -c 'import sys; print(sys.version, sys.prefix)') $(cksum <tools/constraints.txt)"
    if [ "$(cat "$host/stamp" 2>/dev/null)" = "$stamp" ] \
            && "$host/bin/python" -m tox --version >/dev/null 2>&1; then
        return
    fi
    say "making $host with $python"
    rm -rf "$host"
    # Either failure is one.
    # shellcheck disable=SC2015
    "$python" -m venv "$host" \
        && "$host/bin/python" -m pip install --quiet --disable-pip-version-check \
            -c tools/constraints.txt tox \
        || stop 'could not make the environment of tox'
    printf '%s\n' "$stamp" >"$host/stamp"
}

# -- the layers -----------------------------------------------------------------------------------

run_tox() { "$host/bin/python" -m tox run -e "$1"; }

run_lint() {
    say "$1"
    if run_tox "$1"; then
        passed=$((passed + 1))
        say "$1: passed"
    else
        failed=$((failed + 1))
        failures+=("$1")
        say "$1: FAILED"
    fi
}

# Whether there is time for one more layer.
in_time() {
    [ -z "$minutes" ] || [ "$SECONDS" -lt $((10#$minutes * 60)) ] && return
    left_out+=("$1: NOT RUN, $minutes minutes were over")
    return 1
}

# Each layer gets an empty repository of results of its own, so that what is counted is this run.
run_tests() {
    local name=$1 status=0 counts good=0 bad=0 skipped=0
    export STESTR_REPO=$host/results/$name
    say "$name"
    rm -rf "$STESTR_REPO"
    mkdir -p "$STESTR_REPO"
    run_tox "$name" || status=$?
    if [ -e "$STESTR_REPO/.stestr/next-stream" ]; then
        counts=$(".tox/$name/bin/stestr" --repo-url "$STESTR_REPO" last --subunit \
                 | ".tox/$name/bin/python" tools/test_counts.py) || status=1
        read -r good bad skipped <<<"$counts" || status=1
        mapfile -t -O ${#failures[@]} failures < <(tail -n +2 <<<"$counts")
    fi
    good=${good:-0} bad=${bad:-0}
    if [ $((good + bad)) -eq 0 ]; then
        echo "ERROR: $name: no test was run"
        bad=1
    elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "ERROR: $name: the runner ended with status $status though no test failed"
        bad=1
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    say "$name: $good passed, $bad failed, ${skipped:-0} skipped"
}

prepare_system
prepare_git 'No git history here: the version is taken to be 0.0.0. The lint needs a git repository.'
prepare_tox
[ -n "$lint" ] && in_time lint && run_lint pep8
[ -n "$unit" ] && in_time unit && run_tests py3
[ -n "$functional" ] && in_time functional && run_tests functional
[ -n "$storage" ] && in_time storage && run_tests storage
finish
