"""Settings: one group per package, read once at start, handed over as plain values.

    file given by --config  <  environment XOPROXY_<GROUP>__<NAME>  (and ..._FILE for secrets)

Each field has a type, a default, its unit in its name, and a description that gives the reason;
docs/settings.md is generated from them (tools/settings_doc.py) and a test keeps it so. Whatever is
wrong becomes one `ConfigError` of one line that names the setting: a service that starts with a
misspelt limit is worse than one that does not start.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from xoproxy.errors import ConfigError

PREFIX = "XOPROXY_"
MIB = 1024 * 1024
_SECRET_FILE_BYTES = 64 * 1024


def _split(value: object) -> object:
    """Read a list as people write it in an environment variable: separated by commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _home(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


def _are_networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for text in values:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"write an address or a network like 10.0.0.0/8, not {text!r}"
            ) from None
    return values


Networks = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_are_networks)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_split)]
UserPath = Annotated[Path, BeforeValidator(_home)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
LongSeconds = Annotated[float, Field(ge=300, le=366 * 86_400)]
Milliseconds = Annotated[float, Field(ge=0, le=10_000)]
Bytes = Annotated[int, Field(ge=1024)]
Count = Annotated[int, Field(ge=1)]


class _Group(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


def _in_order(group: _Group, *pairs: tuple[str, str]) -> None:
    for low, high in pairs:
        if getattr(group, low) > getattr(group, high):
            raise ValueError(f"{low} must not exceed {high}")


class ServerSettings(_Group):
    """Where the proxy listens and whose pages may use it."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on. Loopback by default: the port speaks plain HTTP, so put a reverse proxy
    with TLS in front before opening it to a network."""
    port: Port = 8086
    """TCP port for everything: pages, WebSocket, HTTP API, metrics. 0 takes a free one."""
    trusted_origins: Origins = ()
    """Web origins (`https://xo.example.com`, separated by commas) whose pages may use the WebSocket
    and the API beside the proxy's own. Needed when a reverse proxy rewrites the `Host` header."""
    trusted_proxies: Networks = ()
    """Addresses or networks (separated by commas) of reverse proxies in front of this one, which
    add to `X-Forwarded-For` and set `X-Forwarded-Proto`: only what they say is believed. Without,
    all who come through one count as one address when passwords are guessed, and cookies are not
    marked `Secure`."""
    shutdown_grace_s: Seconds = 5.0
    """Seconds that clients get to receive their last bookmark and close frame when the proxy stops;
    then connections are cut."""

    @model_validator(mode="after")
    def _origins_are_origins(self) -> Self:
        for origin in self.trusted_origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in {"http", "https"} or not rest or "/" in rest:
                raise ValueError(
                    f"trusted_origins: write an origin like https://xo.example.com, not {origin!r}"
                )
        return self


class AccountsSettings(_Group):
    """How long people stay signed in."""

    session_idle_s: LongSeconds = 86_400.0
    """Seconds after which a browser session that nobody uses is over; a page that is open uses it.
    A day: who works with it daily signs in once a week."""
    session_s: LongSeconds = 7 * 86_400.0
    """Seconds after which a browser session is over in any case: a stolen cookie is good for no
    longer."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        _in_order(self, ("session_idle_s", "session_s"))
        return self


class StorageSettings(_Group):
    """Where accounts, tokens and pools are kept."""

    directory: UserPath = Path("~/.local/state/xoproxy")
    """Directory of the database and the key file unless these are set themselves. Created with mode
    0700 when missing."""
    url: SecretStr = SecretStr("")
    """URL of the database: `sqlite:////path/file.db`, or `postgresql://user:password@host/name`;
    that must be there already. Empty means the SQLite file `xoproxy.db` in `directory`. A secret,
    because such a URL can hold a password."""
    key_file: UserPath | None = None
    """File with the key that encrypts pool passwords in the database; by default `storage.key` in
    `directory`. Created with mode 0600 on the first start. Back it up, apart from the database:
    without it, stored pool passwords are lost."""
    history: bool = True
    """Whether what pools tell is logged, so that after a restart pools are there at once and
    clients load only what changed. Without it, every restart begins with nothing."""
    history_directory: UserPath | None = None
    """Directory of these logs, for nothing else; by default `history` in `directory`. Put it on a
    local disk, and leave it out of backups: an old history must not come back."""
    history_bytes: Bytes = 4 * 1024 * MIB
    """Bytes that all logs and checkpoints may take. When they are used up, the oldest log goes
    first, and clients that were away for long load anew; a pool for which there is no room at all
    is served without."""
    checkpoint_log_bytes: Bytes = 16 * MIB
    """Bytes of a pool's log after which its whole state is written anew: more is read back at a
    start, less costs more writing."""
    checkpoint_interval_s: Seconds = 3600.0
    """Seconds after which that is done at the latest, if anything changed: old log can go then."""

    @property
    def database_url(self) -> str:
        path = self.directory.expanduser().absolute() / "xoproxy.db"
        return self.url.get_secret_value() or f"sqlite+aiosqlite:///{path}"

    @property
    def key_path(self) -> Path:
        return self.key_file or self.directory.expanduser() / "storage.key"

    @property
    def history_path(self) -> Path | None:
        """The directory of the logs; None: there are none."""
        if not self.history:
            return None
        return self.history_directory or self.directory.expanduser().absolute() / "history"


class PoolLinkSettings(_Group):
    """How the proxy talks to each pool."""

    event_timeout_s: Annotated[float, Field(ge=1, le=300)] = 10.0
    """Seconds for which XAPI may hold one `event.from`. Longer saves requests on quiet pools,
    shorter notices a half-open connection earlier."""
    event_slack_s: Seconds = 5.0
    """Seconds granted beyond `event_timeout_s` before the poll counts as lost: XAPI answers late
    under load."""
    connect_timeout_s: Seconds = 10.0
    """Seconds to reach a pool: name, TCP and TLS together."""
    request_timeout_s: Seconds = 60.0
    """Seconds for one call other than the long poll. Listing a large pool and starting a task are
    slow, so be generous."""
    backoff_min_s: Seconds = 1.0
    """Seconds before the first retry of a lost link (jittered), so that a restarted coordinator is
    back within a moment."""
    backoff_max_s: Seconds = 30.0
    """Seconds between retries at most: a pool that is down all night costs little, and is seen soon
    when it comes back. In the first two minutes after a good link was lost, it is tried every two
    seconds."""
    ca_file: UserPath | None = None
    """File with certificates (PEM) of authorities beside the system's, for hosts whose certificates
    they sign. A host's own certificate is accepted by its fingerprint when its pool is added."""
    audit_s: Annotated[float, Field(ge=0)] = 600.0
    """Seconds in which every class of a pool is listed once, only to compare it with what we hold;
    0 for never."""
    calls: Annotated[int, Field(ge=1, le=64)] = 8
    """Concurrent calls per pool besides the long poll. XAPI serves requests from a bounded set of
    threads that its own tools need too."""
    reply_bytes: Bytes = 512 * MIB
    """Bytes of one reply at most. A 5,000-VM pool lists about 60 MB; more than this is a fault, not
    a pool."""
    messages_kept: Annotated[int, Field(ge=0)] = 1000
    """Newest objects of class `message` that are cached per pool: old alerts are many and rarely
    looked at."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        _in_order(self, ("backoff_min_s", "backoff_max_s"))
        return self


class LimitsSettings(_Group):
    """Bounds of every buffer and the pace of delivery: they keep memory and latency predictable."""

    message_bytes: Annotated[int, Field(ge=256 * 1024)] = 256 * 1024
    """Bytes of one client message after inflation. The protocol promises 256 KiB."""
    subscriptions: Count = 64
    """Subscriptions per connection: a page needs a dozen."""
    views: Count = 2048
    """Views (subscription times pool) per connection: 100 pools with 20 each."""
    window_lists: Count = 100
    """Lists behind live windows, different ones; who asks for one more is refused. Windows on the
    same list share it; it takes about half a kilobyte for each object that it finds."""
    calls_per_session: Count = 16
    """Calls that one connection may have in flight; more are refused with BUSY, so that one script
    cannot hold all of a pool's call slots."""
    sessions: Count = 10_000
    """Connections at once; more are closed with 4503. Keep `ulimit -n` above it."""
    frame_bytes: Bytes = 64 * 1024
    """Bytes of one frame to a client (one larger object may exceed it), so that urgent messages
    never wait behind a huge one."""
    snapshot_chunk_bytes: Bytes = 32 * 1024
    """Bytes of one piece of a snapshot: live changes are sent in between."""
    notsent_lowat_bytes: Bytes = 16 * 1024
    """Bytes not yet sent that the kernel may hold per connection (`TCP_NOTSENT_LOWAT`): what waits
    in the kernel cannot be coalesced any more."""
    journal_bytes_per_pool: Bytes = 64 * MIB
    """Bytes of recent changes kept per pool, so that clients resume with only what changed."""
    journal_total_bytes: Bytes = 512 * MIB
    """Bytes of recent changes kept for all pools together; the oldest go first."""
    journal_age_s: Seconds = 1800.0
    """Seconds that a change is kept: half an hour covers a tunnel and a lunch break; after that a
    snapshot is cheaper."""
    frames_total_bytes: Annotated[int, Field(ge=16 * MIB)] = 256 * MIB
    """Bytes of everything on its way to clients together. Over it, what slow clients have not taken
    for longest is given up, and they begin again. At least twice the largest view."""
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes that the process may have: from 85 % new clients are turned away, from 95 % history is
    given up. 0 means what the container may have, or else the machine."""
    deflate_threshold_bytes: Count = 512
    """Bytes from which a frame is compressed: below, deflate costs more than it saves."""
    stalled_close_s: Seconds = 30.0
    """Seconds without any progress after which a client that does not read is closed with 4308. It
    can resume."""
    auth_timeout_s: Seconds = 10.0
    """Seconds for a new connection to authenticate before it is closed."""
    ping_interval_s: Seconds = 25.0
    """Seconds between pings, spread by a fifth: below the 30 s and 60 s after which many
    middleboxes forget an idle connection."""
    pong_timeout_s: Seconds = 10.0
    """Seconds for the answer to a ping."""
    bookmark_interval_s: Seconds = 60.0
    """Seconds between bookmarks at most, so that a quiet view resumes from a recent place."""
    tick_min_ms: Milliseconds = 5.0
    """Milliseconds between two flushes at least while changes keep coming; a change after a quiet
    time goes out at once."""
    tick_max_ms: Milliseconds = 100.0
    """Milliseconds to which the tick stretches under load: changes coalesce instead of queueing."""
    flush_slice: Count = 250
    """Clients written to before the loop serves others: bounds its longest stall."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        _in_order(
            self,
            ("tick_min_ms", "tick_max_ms"),
            ("snapshot_chunk_bytes", "frame_bytes"),
            ("journal_bytes_per_pool", "journal_total_bytes"),
        )
        return self


class AuditSettings(_Group):
    """The audit log: who did what, with which result."""

    keep_days: Count = 365
    """Days that a record is kept at most."""
    keep_records: Count = 1_000_000
    """Records that are kept at most (about 0.5 KB each); the oldest go first."""
    queue: Count = 10_000
    """Records that may wait for a database that is slow. When so many do, what is recorded but not
    waited for (calls, sign-ins) is counted only, and changes of rights are refused."""


class LogSettings(_Group):
    """What is logged; always to standard error."""

    format: Literal["auto", "json", "console"] = "auto"
    """`json`: one object a line, for machines. `console`: for people. `auto`: console on a
    terminal, else json."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written; debug also tells every change."""


class Settings(_Group):
    """All groups. Build it with `load`, which reads file and environment and words the errors."""

    admin_password: SecretStr | None = None
    """Password of the account `admin` that the first start creates; without it a random one is made
    and printed once. Later starts ignore it."""
    server: ServerSettings = ServerSettings()
    accounts: AccountsSettings = AccountsSettings()
    storage: StorageSettings = StorageSettings()
    pool_link: PoolLinkSettings = PoolLinkSettings()
    limits: LimitsSettings = LimitsSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()


GROUPS: dict[str, type[_Group]] = {
    "server": ServerSettings,
    "accounts": AccountsSettings,
    "storage": StorageSettings,
    "pool_link": PoolLinkSettings,
    "limits": LimitsSettings,
    "audit": AuditSettings,
    "log": LogSettings,
}
SECRETS = ("admin_password", "storage.url")


def env_name(setting: str) -> str:
    """Return the environment variable of a setting: "server.port" -> "XOPROXY_SERVER__PORT"."""
    return PREFIX + setting.replace(".", "__").upper()


def load(config: Path | None = None) -> Settings:
    """Read the settings from a TOML file, if one is given, and the environment.

    Args:
        config: the file; it must exist when given.

    Raises:
        ConfigError: in one line, which setting is wrong and what to do.
    """
    values = _read_toml(config) if config else {}
    origins: dict[str, str] = {}
    for variable, text in os.environ.items():
        setting = _setting_of(variable)
        if setting is None:
            continue
        if setting in origins:
            raise ConfigError(f"{origins[setting]} and {variable} are both set; keep one of them")
        origins[setting] = variable
        group, _, name = setting.rpartition(".")
        target = values.setdefault(group, {}) if group else values
        if not isinstance(target, dict):
            break  # pydantic says below that the file's group is no table
        target[name] = read_secret(Path(text), variable) if _is_file(variable) else text
    try:
        return Settings(**values)
    except ValidationError as error:
        # the input may be a secret: only place, type and message are used
        raise ConfigError(_explain(error.errors(include_input=False)[0], config, origins)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} is not valid TOML: {error}") from None


def read_secret(path: Path, origin: str) -> str:
    """Return the first line of a file that holds one secret.

    Args:
        path: the file.
        origin: the option or variable that named it, for the error.
    """
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            secret = file.read(_SECRET_FILE_BYTES).strip("\r\n")
    except OSError as error:
        raise ConfigError(f"{origin}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{origin}: {path} is not UTF-8 text") from None
    if not secret or "\n" in secret:
        raise ConfigError(f"{origin}: {path} must hold the secret on one line and nothing else")
    return secret


def _is_file(variable: str) -> bool:
    return variable in {f"{env_name(setting)}_FILE" for setting in SECRETS}


def _setting_of(variable: str) -> str | None:
    """Return the setting that an environment variable sets, if any.

    Variables that look like settings but are none are refused: ignoring them helps nobody.
    """
    if not variable.startswith(PREFIX):
        return None
    name = (variable.removesuffix("_FILE") if _is_file(variable) else variable).removeprefix(PREFIX)
    if name == "ADMIN_PASSWORD":
        return "admin_password"
    group, delimiter, field = (part.lower() for part in name.partition("__"))
    if delimiter:
        if group not in GROUPS:
            raise ConfigError(
                f"{variable}: there is no group {group!r} of settings{_suggestion(group, GROUPS)}"
            )
        return f"{group}.{field}"
    for known in GROUPS:
        if group == known or group.startswith(f"{known}_"):
            right = env_name(f"{known}.{group.removeprefix(known).lstrip('_') or '<name>'}")
            raise ConfigError(f"{variable} is no setting; write {right} (two underscores)")
    return None  # XOPROXY_TOKEN, XOPROXY_URL and so on belong to the commands


def _explain(error: ErrorDetails, config: Path | None, origins: Mapping[str, str]) -> str:
    location = ".".join(str(part) for part in error["loc"])
    group, _, field = location.partition(".")
    where = origins.get(location) or (f"{location} in {config}" if config else location)
    if error["type"] == "extra_forbidden":
        known = GROUPS[group].model_fields if field else {**GROUPS, "admin_password": None}
        return f"unknown setting {where}{_suggestion(field or group, known)} (docs/settings.md)"
    if error["type"] == "model_type":
        return f"bad setting {where}: write it as a table, [{location}]"
    message = error["msg"].removeprefix("Value error, ")
    return f"bad setting {where}: {message[0].lower()}{message[1:]}"


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
