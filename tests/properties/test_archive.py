"""Backups: whatever stands in a table comes back, and no flipped byte passes."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, MetaData, Table, Text

from xoproxy.errors import ConfigError
from xoproxy.storage import archive
from xoproxy.storage.keyring import Keyring
from xoproxy.storage.schema import UtcDateTime

KEYRING = Keyring(b"k" * 32)
TABLE = Table(
    "things",
    MetaData(),
    Column("text", Text),
    Column("bytes", LargeBinary),
    Column("moment", UtcDateTime),
    Column("boolean", Boolean),
    Column("integer", BigInteger),
)
HEAD = archive.Head(archive.VERSION, datetime(2026, 1, 2, tzinfo=UTC), "1.0", "0001", "k", None)

moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
rows = st.lists(
    st.tuples(
        st.none() | st.text(),
        st.none() | st.binary(),
        st.none() | moments,
        st.none() | st.booleans(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
    )
)


def written(tables):
    file = io.BytesIO()
    writer = archive.Writer(file)
    writer.head(HEAD)
    for table_rows in tables:
        writer.section(TABLE)
        writer.rows(table_rows)
    writer.end(KEYRING)
    return file


@given(st.lists(rows, max_size=3))
def test_whatever_is_written_is_read(tables):
    file = written(tables)
    assert archive.read_head(file) == HEAD
    assert archive.verify(file, KEYRING) == sum(map(len, tables))
    found: list[list] = []
    for item in archive.contents(file):
        if isinstance(item, archive.Section):
            found.append([])
        else:
            found[-1].append(tuple(item))
    assert found == tables
    for table_rows in found:
        assert all(row[2] is None or row[2].utcoffset() == timedelta(0) for row in table_rows)


@given(st.lists(rows, max_size=2), st.integers(min_value=0), st.integers(1, 255))
def test_no_changed_byte_passes(tables, place, change):
    content = bytearray(written(tables).getvalue())
    content[place % len(content)] ^= change
    with pytest.raises(ConfigError):
        archive.verify(io.BytesIO(bytes(content)), KEYRING)


@given(st.lists(rows, max_size=2), st.integers(min_value=0))
def test_no_end_that_is_cut_off_passes(tables, place):
    content = written(tables).getvalue()
    with pytest.raises(ConfigError):
        archive.verify(io.BytesIO(content[: place % len(content)]), KEYRING)
