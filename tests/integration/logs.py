"""What a proxy in this process logs, to be searched."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from xoproxy.telemetry import configure_logging


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Have everything logged, at the most talkative, into what is yielded."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure_logging("json", "debug")
    try:
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        monkeypatch.undo()
