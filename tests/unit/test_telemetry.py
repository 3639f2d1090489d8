"""Telemetry: lines for machines and people, masked secrets, and the list of metrics."""

import json
import logging

import pytest
import structlog

from xoproxy.telemetry import METRICS, Metrics, Sample, configure_logging


@pytest.fixture(autouse=True)
def _restore_logging():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_bound_context(capsys):
    configure_logging("json", "info")
    with structlog.contextvars.bound_contextvars(pool="p1"):
        structlog.get_logger().info("pool_live", objects=3)
    line = json.loads(capsys.readouterr().err)
    assert {"event": "pool_live", "objects": 3, "pool": "p1", "level": "info"}.items() <= (
        line.items()
    )
    assert line["timestamp"].endswith("Z")


def test_records_of_libraries_look_the_same(capsys):
    configure_logging("json", "info")
    logging.getLogger("aiohttp.server").error("Error handling request %s", 7)
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "Error handling request 7"
    assert line["logger"] == "aiohttp.server"


def test_lines_below_the_level_are_not_written(capsys):
    configure_logging("json", "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp.server").info("quiet")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_masked_and_tracebacks_show_no_locals(capsys, form):
    configure_logging(form, "info")
    log = structlog.get_logger()
    password = "hunter2"  # noqa: F841 - a local that a traceback must not show
    try:
        int("x")
    except ValueError:
        log.exception("oops", access_token="hunter2", Authorization="hunter2", pool="p1")
    text = capsys.readouterr().err
    assert "hunter2" not in text.replace('"hunter2"  # noqa', "")
    assert "ValueError" in text
    assert "***" in text


def test_metrics_are_read_at_the_scrape():
    metrics = Metrics()
    counts = {"p1": 1}
    metrics.add_source(lambda: [Sample("xoproxy_events_total", v, (k,)) for k, v in counts.items()])
    metrics.add_source(lambda: [Sample("xoproxy_clients", 5)])
    assert b'xoproxy_events_total{pool="p1"} 1.0' in metrics.exposition()
    counts["p1"] = 9
    counts["p2"] = 2
    text = metrics.exposition().decode()
    assert 'xoproxy_events_total{pool="p1"} 9.0' in text
    assert 'xoproxy_events_total{pool="p2"} 2.0' in text
    assert "xoproxy_clients 5.0" in text
    assert "# HELP xoproxy_events_total Events received from XAPI" in text
    assert "# TYPE xoproxy_events_total counter" in text
    assert "process_resident_memory_bytes" in text


def test_an_unlisted_metric_is_a_mistake():
    metrics = Metrics()
    metrics.add_source(lambda: [Sample("xoproxy_surprise", 1)])
    with pytest.raises(KeyError, match="xoproxy_surprise"):
        metrics.exposition()


def test_names_follow_the_conventions_of_prometheus():
    for name, metric in METRICS.items():
        assert name.startswith("xoproxy_")
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert metric.meaning[0].isupper()
        assert not metric.meaning.endswith(".")
