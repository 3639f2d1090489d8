"""What the proxy tells about itself: log lines on standard error, numbers at /metrics.

Logging: the event name is constant, data are keys, `pool` and `session` are bound by contextvars;
libraries' own log records come out in the same form. Values under names that smell of a secret are
masked, and tracebacks never show local variables; that is the last net, not a licence.

Metrics: METRICS is the whole list. Counting costs the hot paths an integer addition and nothing
else: objects keep plain counts and hand them over as `Sample`s when somebody scrapes. Labels hold
our own short ids only, never names of pools, objects or people: /metrics needs no sign-in.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from structlog.typing import EventDict, Processor, WrappedLogger

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECRET_NAME = re.compile(
    r"passw|secret|token|authori[sz]ation|cookie|credential|api_?key", re.IGNORECASE
)
_MASK = "***"


def configure_logging(form: Literal["auto", "json", "console"], level: str) -> None:
    """Send all log records of the process to standard error.

    Args:
        form: how a line looks; "auto" is "console" on a terminal, else "json".
        level: least severity: "debug", "info", "warning" or "error".
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    severity = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # loggers made at import must follow a later call
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(console=console),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=severity, force=True)
    logging.getLogger("aiohttp.server").addFilter(_is_no_clients_fault)
    # one line per statement and per migration is noise below debug
    for library in ("alembic", "aiosqlite", "asyncio", "sqlalchemy.engine"):
        logging.getLogger(library).setLevel(max(severity, logging.WARNING))


def _is_no_clients_fault(record: logging.LogRecord) -> bool:
    """Leave out what aiohttp logs with a traceback although it is nobody's fault here.

    That is nonsense instead of HTTP, which it answers with 400, and who is gone before an answer.
    """
    fault = record.exc_info[1] if record.exc_info else None
    return not isinstance(fault, HttpProcessingError | ConnectionResetError)


def _renderers(*, console: bool) -> list[Processor]:
    if console:
        # the default formatter prints local variables, and among them passwords
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name != "event" and value is not None and _SECRET_NAME.search(name):
            event[name] = _MASK
    return event


class MetricName(NamedTuple):
    """One metric: its type, what it counts, and its labels."""

    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...] = ()


_POOL = ("pool",)
METRICS: Mapping[str, MetricName] = {
    "xoproxy_pools": MetricName("gauge", "Configured pools by state of their link", ("state",)),
    "xoproxy_pool_objects": MetricName("gauge", "Objects in the cache", _POOL),
    "xoproxy_pool_last_event_age_seconds": MetricName(
        "gauge", "Seconds since the last answer to event.from", _POOL
    ),
    "xoproxy_events_total": MetricName("counter", "Events received from XAPI", _POOL),
    "xoproxy_batches_total": MetricName("counter", "Batches committed to the cache", _POOL),
    "xoproxy_changes_total": MetricName("counter", "Changes committed to the cache", _POOL),
    "xoproxy_unchanged_total": MetricName(
        "counter", "Events dropped because the record was equal", _POOL
    ),
    "xoproxy_relists_total": MetricName(
        "counter", "Times that classes were listed again, by reason", ("pool", "reason")
    ),
    "xoproxy_mismatches_total": MetricName(
        "counter", "Answers whose object counts differed from the cache", _POOL
    ),
    "xoproxy_audits_total": MetricName(
        "counter", "Classes listed only to be compared with the cache", _POOL
    ),
    "xoproxy_repairs_total": MetricName(
        "counter", "Objects that an audit found different, and no event had told", _POOL
    ),
    "xoproxy_probes_total": MetricName(
        "counter",
        "Times that a silent pool was asked for a sign of life, by outcome",
        ("pool", "outcome"),
    ),
    "xoproxy_link_transitions_total": MetricName(
        "counter", "Changes of a link's phase, by phase and cause", ("pool", "phase", "cause")
    ),
    "xoproxy_journal_bytes": MetricName("gauge", "Bytes of changes kept for resuming", _POOL),
    "xoproxy_journal_entries": MetricName("gauge", "Changes kept for resuming", _POOL),
    "xoproxy_history_writing": MetricName(
        "gauge", "Whether what a pool tells is logged for a restart (1) or not (0)", _POOL
    ),
    "xoproxy_history_bytes": MetricName("gauge", "Bytes of a pool's log and checkpoint", _POOL),
    "xoproxy_history_segments": MetricName("gauge", "Pieces of a pool's log", _POOL),
    "xoproxy_history_lost_total": MetricName(
        "counter", "Times that a pool's history could not be written and was given up", _POOL
    ),
    "xoproxy_checkpoint_age_seconds": MetricName(
        "gauge", "Seconds since a pool's last checkpoint", _POOL
    ),
    "xoproxy_checkpoint_seconds": MetricName("gauge", "Seconds that the last checkpoint took"),
    "xoproxy_histories_restored": MetricName("gauge", "Pools that were restored at the start"),
    "xoproxy_histories_discarded": MetricName(
        "gauge", "Pools whose history was found at the start, and not believed"
    ),
    "xoproxy_calls_total": MetricName(
        "counter", "Calls of clients that reached a pool, by outcome", ("pool", "outcome")
    ),
    "xoproxy_clients": MetricName("gauge", "Open WebSocket connections that are signed in"),
    "xoproxy_clients_parked": MetricName("gauge", "Clients that read too slowly just now"),
    "xoproxy_clients_turned_away_total": MetricName(
        "counter", "Connections that were refused for want of room"
    ),
    "xoproxy_memory_bytes": MetricName("gauge", "Memory of the process, without what it shares"),
    "xoproxy_memory_limit_bytes": MetricName("gauge", "What it may have, see limits.memory_bytes"),
    "xoproxy_frames_held_bytes": MetricName("gauge", "What is on its way to clients"),
    "xoproxy_deliveries_given_up_total": MetricName(
        "counter", "Snapshots and patches given up because too much was on its way"
    ),
    "xoproxy_groups": MetricName("gauge", "Distinct views that clients share"),
    "xoproxy_views": MetricName("gauge", "Views of all clients"),
    "xoproxy_windows": MetricName("gauge", "Distinct live windows that clients share"),
    "xoproxy_window_lists": MetricName("gauge", "Lists that live windows are cut from"),
    "xoproxy_window_list_objects": MetricName("gauge", "Objects in these lists"),
    "xoproxy_frames_total": MetricName("counter", "Frames written to clients"),
    "xoproxy_frame_bytes_total": MetricName("counter", "Bytes of frames written to clients"),
    "xoproxy_resumes_total": MetricName(
        "counter", "Views that a client asked to resume, by outcome", ("outcome",)
    ),
    "xoproxy_group_changes_total": MetricName(
        "counter", "Distinct views created, needed again, or forgotten after a while", ("what",)
    ),
    "xoproxy_moves_total": MetricName("counter", "Views that went on under other rights"),
    "xoproxy_view_faults_total": MetricName(
        "counter", "Faults of ours in the evaluation of a view; the log has them"
    ),
    "xoproxy_logins_total": MetricName(
        "counter", "Sign-ins by way (password, token, session) and outcome", ("way", "outcome")
    ),
    "xoproxy_audit_records_total": MetricName("counter", "Records of the audit log stored"),
    "xoproxy_audit_lost_total": MetricName(
        "counter", "Records of the audit log that were only counted: the database was too slow"
    ),
    "xoproxy_audit_queue": MetricName("gauge", "Records of the audit log not stored yet"),
}


class Sample(NamedTuple):
    """One number at the moment of a scrape.

    Args:
        name: a key of METRICS.
        value: the count so far, or the current value.
        labels: in the order in which METRICS names them.
    """

    name: str
    value: float
    labels: tuple[str, ...] = ()


Source = Callable[[], Iterable[Sample]]


class Metrics(Collector):
    """Collects the samples of all sources at a scrape; knows nothing in between."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def add_source(self, source: Source) -> None:
        """Ask this function for its samples at every scrape; it must be quick."""
        self._sources.append(source)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format (METRICS_CONTENT_TYPE)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Any] = {}
        for source in self._sources:
            for name, value, labels in source():
                if name not in families:
                    families[name] = _family(name)
                families[name].add_metric(labels, value)
        return [families[name] for name in METRICS if name in families]


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    kind, meaning, labels = METRICS[name]
    family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    return family(name, meaning, labels=labels)
