"""One proxy per data directory, and what the last one that used it left behind."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xoproxy.errors import ConfigError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def sole_user(directory: Path, setting: str = "storage.directory") -> Iterator[None]:
    """Hold a directory, which two proxies at once would ruin.

    The kernel lets go of the lock when the process ends, however it does: no file tells lies about
    who is alive.

    Args:
        directory: made when it is not there.
        setting: that names another one.

    Raises:
        ConfigError: another proxy holds it, or nothing can be written there.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"storage: cannot write to the directory {directory}: {error.strerror}; "
            f"set {setting} to a place that this user may write to"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"storage: another proxy uses the directory {directory}; stop it, or set "
                f"{setting} to another place"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"storage: cannot lock the directory {directory}: {error.strerror}; "
                f"set {setting} to a place on a local disk"
            ) from None
        yield
    finally:
        os.close(descriptor)


def boot_id() -> str | None:
    """Name the time since the machine started; None where the system does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


class RunMarker:
    """A file that is there while a proxy runs, with the boot id.

    What was written survives the death of a process, but not that of the machine: then the end of
    the files may be missing though clients were told of it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "running"

    def trusted(self, boot: str | None) -> bool:
        """Tell whether everything that the last proxy wrote is there."""
        return self.clean or (boot is not None and self._left() == boot)

    @property
    def clean(self) -> bool:
        """Whether the last proxy ended cleanly (or there was none)."""
        return not self._path.exists()

    def set(self, boot: str | None) -> None:
        """Note on disk that a proxy runs; before anything else is written."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(boot or "unknown")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._path.parent)

    def remove(self) -> None:
        """Note on disk that all was written; after everything else is there."""
        self._path.unlink(missing_ok=True)
        sync_directory(self._path.parent)

    def _left(self) -> str | None:
        try:
            return self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None


def sync_directory(path: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(directory: Path) -> None:
    """Have the files in a directory on disk, and their names."""
    for path in directory.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_directory(directory)
