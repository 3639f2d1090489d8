"""Where the optional test data lies, and what to do when it does not.

The project's tests run without it; those that need it say so and are skipped,
unless XOPROXY_REQUIRE_ALL=1 asks that nothing be skipped silently.
"""

import os
from pathlib import Path

import pytest

SHARED = Path(
    os.environ.get("XOPROXY_SHARED") or Path(__file__).resolve().parents[2] / "shared"
).resolve()
REQUIRE_ALL = os.environ.get("XOPROXY_REQUIRE_ALL") == "1"


def skip_or_fail(reason: str) -> None:
    """Skip the calling test, or fail it when every optional part is required."""
    if REQUIRE_ALL:
        pytest.fail(f"required, but {reason}")
    pytest.skip(reason)


def shared_path(relative: str) -> Path:
    """Return a path under the shared data; skip (or fail) the test when it is missing."""
    path = SHARED / relative
    if not path.exists():
        skip_or_fail(f"{relative} is not there (set XOPROXY_SHARED to the folder of the test data)")
    return path


def shared_files(relative: str, pattern: str) -> list[Path]:
    """List data files for parametrisation; a single absent path when there are none.

    The absent path makes one test case that `shared_path`-style checks then skip with its reason.
    """
    return sorted((SHARED / relative).glob(pattern)) or [SHARED / relative / "missing"]
