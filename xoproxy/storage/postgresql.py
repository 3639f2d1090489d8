"""All that is PostgreSQL's own: its connections, its transactions, and whose the database is.

Those who write take turns, as with SQLite's BEGIN IMMEDIATE: a transaction that will write takes an
advisory lock first, at READ COMMITTED, so that whatever it reads is what the one before it left.
(At REPEATABLE READ the statement that waits for the lock would already have fixed what is seen.)
SERIALIZABLE needs no lock, but fails transactions, which everybody who writes would have to repeat;
and writes are an administrator's, a few in a minute.

The URL is read by asyncpg, by libpq's rules: `sslmode`, `sslrootcert`, `host=/var/run/postgresql`
and the variables PGPASSWORD, PGSSLMODE and so on mean what they mean to psql.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from xoproxy.errors import ConfigError
from xoproxy.storage.transactions import CONNECTIONS, TIMEOUT_S, WRITES

if TYPE_CHECKING:
    import asyncpg

_WRITING = int.from_bytes(b"xoproxy\x01")
_OWNING = int.from_bytes(b"xoproxy\x02")
"""Advisory locks: of the transaction that writes, and of the proxy whose database this is."""

_KNOWN = text(
    "SELECT 1 FROM pg_locks"
    " WHERE locktype = 'advisory' AND granted AND pid = :pid AND objid = CAST(:lock AS bigint)"
)

_SESSION = {
    "application_name": "xoproxy",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    # what was acknowledged is on disk, whatever the server's default is
    "synchronous_commit": "on",
    # ms; as patient as with SQLite
    "lock_timeout": "5000",
    # A machine that vanished in the middle of something lets go of its locks within a minute.
    "idle_in_transaction_session_timeout": "30000",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


def new_engine(url: URL) -> AsyncEngine:
    """Make an engine for a database, which must be there already.

    Raises:
        ConfigError: asyncpg is not installed.
    """
    try:
        import asyncpg  # noqa: F401, PLC0415 - who stays with SQLite needs none
    except ImportError:
        raise ConfigError(
            "storage.url: PostgreSQL needs a package that is not installed: "
            "pip install 'xoproxy[postgresql]'"
        ) from None

    async def connect() -> Any:  # noqa: ANN401 - an asyncpg.Connection
        try:
            return await _connection(url)
        except _Refused as error:
            raise dialect_error(str(error)) from None

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=TIMEOUT_S,
        pool_pre_ping=True,  # a server that was restarted has forgotten the pooled ones
        hide_parameters=True,  # errors end in logs
    )
    dialect_error = engine.dialect.loaded_dbapi.OperationalError
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def _on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITING})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


class Claim:
    """One proxy's claim to a database, on whichever machine the others run.

    A lock of a connection of its own: the server gives it free when that ends, however it does.
    Each transaction that writes makes sure of it first. When it was lost (the server was restarted)
    it is taken again; if another proxy has it by then, this one does not write any more.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._wanted = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the database until the block ends.

        Raises:
            ConfigError: another proxy does.
        """
        self._wanted = True
        try:
            await self.renew()
            yield
        finally:
            self._wanted = False
            if self._connection is not None:
                self._connection.terminate()

    async def renew(self) -> None:
        """Take the lock again if it was taken and lost.

        Raises:
            ConfigError: another proxy has it.
            OperationalError: the server cannot be reached.
        """
        async with self._lock:
            if not self._wanted:
                return
            if self._connection is not None and not self._connection.is_closed():
                return
            try:
                connection, mine = await self._try()
            except _Refused as error:
                raise OperationalError("connect", None, error, hide_parameters=True) from None
            if not mine:
                raise ConfigError(
                    "storage: another proxy uses this database, maybe on another machine; stop it, "
                    "or set storage.url to a database of its own"
                )
            self._connection = connection

    async def check(self, transaction: AsyncConnection) -> None:
        """Ask the server whether it still knows of the lock, before something is written.

        A machine that was paused for long does not know that the server gave the lock away:
        nothing has closed its connection.

        Raises:
            OperationalError: it does not; the next transaction tries to take it again.
        """
        if not self._wanted or self._connection is None:
            return
        known = await transaction.execute(
            _KNOWN, {"pid": self._connection.get_server_pid(), "lock": _OWNING & 0xFFFF_FFFF}
        )
        if known.first() is None:
            self._connection.terminate()
            error = _Refused("the claim to the database was lost; try again")
            raise OperationalError("claim", None, error, hide_parameters=True)

    async def _try(self) -> "tuple[asyncpg.Connection, bool]":
        connection, mine = await _connection(self._url), False
        try:
            with _explained(self._url):
                mine = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _OWNING)
        finally:
            if not mine:
                connection.terminate()
        return connection, mine


class _Refused(Exception):  # noqa: N818 - reads as what happened
    """There is no connection; says why, without the password."""


async def _connection(url: URL) -> "asyncpg.Connection":
    import asyncpg  # noqa: PLC0415

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with _explained(url):
        return await asyncpg.connect(plain, timeout=TIMEOUT_S, server_settings=_SESSION)


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    import asyncpg  # noqa: PLC0415

    try:
        yield
    except TimeoutError:
        raise _Refused("the server does not answer") from None
    except asyncpg.PostgresError as error:
        reason = str(error.args[0])  # what follows may quote values
    except (OSError, ValueError, asyncpg.InterfaceError) as error:
        reason = str(error)
    else:
        return
    for secret in filter(None, (url.password, url.query.get("password"))):
        reason = reason.replace(str(secret), "***").replace(quote(str(secret)), "***")
    raise _Refused(" ".join(reason.split()))
