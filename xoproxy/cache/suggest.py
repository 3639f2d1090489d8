"""What somebody probably meant who wrote a name that there is not."""

from collections.abc import Iterable
from difflib import get_close_matches

_MIN_PART = 3
"""Shorter texts stand in too many names to tell anything."""


def suggestion(word: object, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, if one comes to mind.

    A name of which the word is a part comes before one that merely looks alike: who writes "cpus"
    means VCPUs_max, not VGPUs.
    """
    by_lower = {name.lower(): name for name in sorted(known)}
    wanted = str(word).lower()
    if wanted in by_lower:
        return by_lower[wanted]
    longer = [name for name in by_lower if wanted in name] if len(wanted) >= _MIN_PART else []
    if longer:
        return by_lower[min(longer, key=lambda name: (not name.startswith(wanted), len(name)))]
    close = get_close_matches(wanted, by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(word: object, known: Iterable[str]) -> str | None:
    found = suggestion(word, known)
    return f"did you mean {found}?" if found else None
