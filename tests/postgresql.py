"""A real PostgreSQL server on loopback, in a directory of its own, as a user that is not root."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.shared import skip_or_fail

PASSWORD = "p@ss:w/rd%"  # every sign of it means something else in a URL
_PASSWORD_IN_URL = "p%40ss%3Aw%2Frd%25"
_START_S = 60


class Server:
    """A server that can be stopped, killed and started again."""

    def __init__(self, binaries: Path, directory: Path, *options: str) -> None:
        self._binaries = binaries
        self._data = directory / "data"
        self._options = options
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def initialise(self) -> None:
        password = self._data.with_name("password")
        password.write_text(PASSWORD)
        command = [
            *(str(self._binaries / "initdb"), "--pgdata", str(self._data), "--no-sync"),
            *("--username=owner", f"--pwfile={password}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C.UTF-8"),
        ]
        command = [*_unprivileged(), *command]
        subprocess.run(command, check=True, capture_output=True, cwd="/")  # noqa: S603 - Debian's

    def start(self) -> None:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._data.parent,
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *self._options]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            # it must not outlive us, even if we are killed
            self._process = subprocess.Popen(  # noqa: S603
                [*_unprivileged("--pdeathsig=QUIT"), *command], stdout=log, stderr=log, cwd="/"
            )
        give_up_s = time.monotonic() + _START_S
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:  # noqa: S603
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < give_up_s, self._log.read_text()
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT: in order, SIGQUIT: at once, leaving all to recovery."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_START_S)
            self._process = None

    def kill(self) -> None:
        """Kill each of its processes with SIGKILL, as when memory runs out."""
        assert self._process is not None
        children = [pid for pid in _processes() if _parent(pid) == self._process.pid]
        self._process.kill()
        self._process.wait(_START_S)
        self._process = None
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(_parent(pid) is not None for pid in children):
            time.sleep(0.01)

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"d{secrets.token_hex(6)}"
        self.query("postgres", f'CREATE DATABASE "{name}"')
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://owner:{_PASSWORD_IN_URL}@127.0.0.1:{self.port}/{name}"

    def query(self, database: str, statement: str) -> list[str]:
        """Run a statement with the server's own client; a line per row."""
        command = [
            *(str(self._binaries / "psql"), "--no-psqlrc", "--tuples-only", "--no-align", "-q"),
            *("-h", "127.0.0.1", "-p", str(self.port), "-U", "owner", "-d", database),
            *("-v", "ON_ERROR_STOP=1", "-c", statement),
        ]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        done = subprocess.run(  # noqa: S603
            command, check=False, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """Run a server, or skip the test when there is none to run."""
    binaries = _binaries()
    directory = Path(tempfile.mkdtemp(prefix="xoproxy-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, _user())
        server = Server(binaries, directory, *options)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(directory)


def _binaries() -> Path:
    """Find a server; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        skip_or_fail("there is no PostgreSQL server (Debian: apt-get install postgresql)")
    return found[-1].parent if found else Path(str(on_path)).parent


def _unprivileged(*options: str) -> list[str]:
    """Begin a command as somebody who may run a server: root may not."""
    if os.geteuid() != 0:
        return ["setpriv", *options, "--"]
    user = _user()
    return ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", *options, "--"]


def _user() -> str:
    names = {line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
