"""xoproxy: a caching, event-driven proxy between many clients and many XAPI pools.

    XAPI -- pool/watch -- cache/store -- cache/journal -- sessions/group -- ws -- client

Start reading at docs/architecture.md, then model.py, cache/view.py, sessions/group.py,
app/composition.py.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("xoproxy")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
