"""Prometheus' own checker, from Debian's package, of which nothing else is installed."""

import os
import pathlib
import shutil
import subprocess

from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab.common import run

PACKAGE, PATH = 'prometheus', './usr/bin/promtool'
SECONDS = 300


def promtool():
    """The path of the program: from the PATH, or downloaded once; None where there is no apt.

    :raises LabError: it could not be had; says what to do
    """
    found = shutil.which('promtool')
    if found is not None:
        return found
    kept = cache_dir() / 'promtool'
    with locked(cache_dir() / 'promtool.lock'):
        if kept.exists():
            return str(kept)
        if shutil.which('apt-get') is None:
            return None
        return str(_download(kept))


def _download(kept):
    """The package is not installed: its service would run, beside one that may be there."""
    folder, log = kept.with_name('promtool.partial'), kept.with_name('promtool.log')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        try:
            _fetch(folder, log)
        except LabError:                # lists that are older than the archive, or none
            run([*_root(), 'apt-get', '-q', 'update'], log, SECONDS)
            _fetch(folder, log)
        package, = folder.glob('*.deb')
        run(['dpkg-deb', '-x', package, folder / 'all'], log, SECONDS)
        (folder / 'all' / PATH).rename(kept)
    except LabError as error:
        raise LabError(f'promtool, which checks the alert rules, is neither on the PATH nor can '
                       f"it be downloaded (Debian's package {PACKAGE}):\n{error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return kept


def _fetch(folder, log):
    # apt-get puts it into the folder it is in.
    run(['sh', '-c', 'cd "$1" && exec apt-get -q download "$2"', 'sh', folder, PACKAGE], log,
        SECONDS)


def _root():
    return [] if os.geteuid() == 0 else ['sudo', '-n']


def check(program, *words, stdin=None):
    """Run it; returns (exit status, all that it printed)."""
    done = subprocess.run([program, *map(str, words)], input=stdin, capture_output=True,
                          timeout=120, cwd=pathlib.Path(__file__).parent)
    return done.returncode, (done.stdout + done.stderr).decode()
