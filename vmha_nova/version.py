"""The version that is installed."""

import importlib.metadata


def version():
    """As pip shows it; 'unknown' where the package is not installed but run from its source."""
    try:
        return importlib.metadata.version('vmha-nova')
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'
