"""Whatever is asked of statistics has an answer or a page, and answers keep their promises."""

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Hosts
from xoproxy.simulator.http import Connection, Head, PageError, Reply
from xoproxy.simulator.http_auth import HttpAuth
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.statistics import Statistics, StatisticsHandlers
from xoproxy.simulator.tasks import Tasks

NOBODY: Connection = object.__new__(Connection)  # these handlers do not touch it
NOW = 1_790_000_003.0
LAST = 1_790_000_000


class Asked:
    """A pool without a network."""

    def __init__(self) -> None:
        self.db = Database(DataModel.load())
        self.db.load(generate(1, 3, seed=8))
        self.db.time = lambda: NOW  # type: ignore[method-assign]
        self.sessions = Sessions(self.db, "root", "x", speed=1000)
        auth = HttpAuth(self.db, self.sessions, Tasks(self.db))
        hosts = Hosts(self.db)
        self.handlers = StatisticsHandlers(self.db, auth, hosts, Statistics()).of(hosts.coordinator)
        self.session = asyncio.run(self.sessions.login("root", "x", ""))

    def ask(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Reply | int:
        """Return the answer, or the status of a page."""
        head = Head("GET", path, "1.1", headers, {"session_id": self.session, **query})
        try:
            reply = asyncio.run(_awaited(self.handlers["GET", path](NOBODY, head)))
        except PageError as error:
            return error.status
        assert reply is not None
        return reply


async def _awaited(answer):
    return await answer


ASKED = Asked()
PATHS = sorted(path for _, path in ASKED.handlers)
UUIDS = [
    ASKED.db.get(cls, ref, "uuid") for cls in ("VM", "SR", "host") for ref in ASKED.db.refs(cls)
]
names = st.sampled_from(
    [
        "start",
        "cf",
        "interval",
        "host",
        "vm_uuid",
        "sr_uuid",
        "uuid",
        "json",
        "rrd_unarchive",
        "ref",
    ]
)
values = st.one_of(
    st.sampled_from(["true", "all", "none", "AVERAGE", "MIN", "MAX", "LAST", "", *UUIDS]),
    st.integers(-(10**20), 10**20).map(str),
    st.text(max_size=8),
)
headers = st.dictionaries(
    st.sampled_from(["accept", "authorization", "cookie"]), st.text(max_size=20), max_size=1
)


@given(st.sampled_from(PATHS), st.dictionaries(names, values), headers)
@settings(max_examples=60)  # whole archives are large
def test_any_question_has_an_answer_or_a_page(path, query, headers):
    answer = ASKED.ask(path, query, headers)

    if isinstance(answer, Reply):
        assert answer.status in {200, 302}
    else:
        assert answer in {400, 401, 404, 500}


@given(
    st.integers(-700_000, 700_000),
    st.integers(0, 90_000),
    st.sampled_from(["AVERAGE", ""]),
)
def test_updates_are_what_their_head_says(offset, interval, cf):
    start = LAST + offset if offset <= 0 else -offset
    query = {"start": str(start), "interval": str(interval), "cf": cf, "host": "true", "json": ""}
    answer = ASKED.ask("/rrd_updates", query, {})
    if interval // 5 > 17280:
        assert answer == 500
        return
    assert isinstance(answer, Reply)
    told = json.loads(answer.body)
    meta, data = told["meta"], told["data"]
    step, end = int(meta["step"]), int(meta["end"])

    assert step >= min(interval, 86_400) - 4
    assert end % step == 0
    assert LAST - step < end <= LAST
    assert [int(row["t"]) for row in data] == [end - i * step for i in range(len(data))]
    assert int(meta["rows"]) == len(data)
    assert {len(row["values"]) for row in data} <= {int(meta["columns"])} == {len(meta["legend"])}
