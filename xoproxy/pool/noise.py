"""Changes that say nothing, held back: operations that come and go by themselves.

XAPI scans each storage repository every 30 seconds, and each scan changes the record twice: the
operation appears in `current_operations` (and `allowed_operations` shrinks), then both return. A
change of these two fields alone is held back while all running operations are such ones. The
return to rest then equals what we hold; were it different, it would pass: nothing is ever held
back for good, so a cache at rest is exact. That is why this is not simply a list of fields to
ignore, after which the cache would be wrong until something else changed.
"""

from collections.abc import Mapping

import msgspec

from xoproxy.cache.diff import split
from xoproxy.model import XapiClass

Noise = Mapping[XapiClass, frozenset[str]]
"""Class -> names of operations that come and go by themselves."""

DEFAULT: Noise = {XapiClass("SR"): frozenset({"scan"})}

_CURRENT, _ALLOWED = "current_operations", "allowed_operations"
_decode_operations = msgspec.json.Decoder(dict[str, str]).decode


def is_noise(before: bytes, after: bytes, operations: frozenset[str]) -> bool:
    """Tell whether a record differs from the held one by passing operations only.

    Args:
        before: the record as we hold it.
        after: as XAPI says it is.
        operations: those that come and go by themselves.
    """
    try:
        old, new = split(before), split(after)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False  # not yet fit to be read; the store will see to it
    running = new.get(_CURRENT)
    if running is None or old.keys() != new.keys():
        return False
    if any(old[f] != new[f] for f in new if f not in {_CURRENT, _ALLOWED}):
        return False
    try:
        names = set(_decode_operations(running).values())
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
    ):  # not the map that XAPI documents: nothing to hold back
        return False
    return bool(names) and names <= operations
