# shellcheck shell=bash disable=SC2154
# What the scripts beside this one share; they source it. ``root`` is the checkout.

# Print the first Python that is new enough and can make a virtual environment.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
                2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# pbr takes the version from git. Git refuses a repository that belongs to somebody else (root in a
# container, and a mounted checkout); here that is meant. $1: what to say where there is no history.
prepare_git() {
    local n=${GIT_CONFIG_COUNT:-0}
    if ! git -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
        export GIT_CONFIG_COUNT=$((n + 1))
        export "GIT_CONFIG_KEY_$n=safe.directory" "GIT_CONFIG_VALUE_$n=$root"
    fi
    if ! git -C "$root" rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
        [ -z "${1:-}" ] || echo "$1"
        export PBR_VERSION=${PBR_VERSION:-0.0.0}
    fi
}
