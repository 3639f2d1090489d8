"""event.from: positions, filters, coalescing."""

from collections.abc import Sequence

import pytest

from tests.unit.simulator.worlds import DOM0, HOST, OTHER, POOL, VM, load
from xoproxy.simulator.database import Database
from xoproxy.simulator.events import Batch, Events, Subscription, Token
from xoproxy.simulator.failures import XapiError


def told(batch: Batch) -> list[tuple[str, str, str]]:
    return [(e.operation, e.model.table, e.ref) for e in batch.events]


class Reader:
    """Reads a database's events without waiting."""

    def __init__(self, db: Database, *classes: str) -> None:
        self._events = Events(db, lambda _: None)
        self._wanted = Subscription(classes)
        self.position = Token(0, 0)

    def read(self) -> Batch:
        batch = self._events.look(self._wanted, self.position)
        self.position = batch.token
        return batch


@pytest.fixture
def db() -> Database:
    return load()


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", Token(0, 0)),
        ("80,0", Token(80, 0)),
        ("-5,3", Token(-5, 3)),
        ("00000000000000000080,00000000000000000007", Token(80, 7)),
        ("9223372036854775807,0", Token(9223372036854775807, 0)),
    ],
)
def test_tokens_that_parse(text: str, token: Token):
    assert Token.parse(text) == token


@pytest.mark.parametrize(
    "text", ["garbage", "5", "1,2,3", "a,b", "1, 2", " 1,2", "1,2\n", "9223372036854775808,0", ","]
)
def test_tokens_that_do_not_parse(text: str):
    with pytest.raises(XapiError) as caught:
        Token.parse(text)
    assert caught.value.description == ["EVENT_FROM_TOKEN_PARSE_FAILURE", text]


def test_a_token_is_padded():
    assert str(Token(80, 7)) == "00000000000000000080,00000000000000000007"


def test_a_first_look_gives_every_object_once_as_add(db: Database):
    batch = Reader(db, "vm", "HOST").read()

    expected = {("add", "vm", ref) for ref in (VM, OTHER, DOM0)} | {("add", "host", HOST)}
    assert set(told(batch)) == expected
    assert len(batch.events) == len(expected)


def test_rows_from_generation_0_come_as_mod():
    db = load()
    db.load({"VM": {VM: {}}}, {VM: (0, 5)})

    assert told(Reader(db, "vm").read()) == [("mod", "vm", VM)]


def test_writes_coalesce_into_one_event_with_the_latest_state(db: Database):
    reader = Reader(db, "vm")
    reader.read()
    for i in range(20):
        db.write("VM", VM, "name_label", f"name {i}")
    (event,) = reader.read().events

    assert (event.operation, event.generation) == ("mod", db.generation - 1)
    assert event.row is not None
    assert event.row.fields["name_label"] == "name 19"


def test_groups_come_in_order_add_mod_del(db: Database):
    old = db.create("network", {})
    reader = Reader(db, "vm", "network")
    reader.read()
    db.destroy("network", old)
    db.write("VM", VM, "name_label", "changed")
    new = db.create("network", {})

    assert told(reader.read()) == [
        ("add", "network", new),
        ("mod", "vm", VM),
        ("del", "network", old),
    ]


def test_created_and_destroyed_between_two_looks_is_nothing_and_does_not_advance(db: Database):
    reader = Reader(db, "network")
    before = reader.read().token
    db.destroy("network", db.create("network", {}))
    batch = reader.read()

    assert batch.events == []
    assert batch.token == before


def test_the_token_is_that_of_the_matched_objects_only(db: Database):
    reader = Reader(db, f"vm/{VM}")
    reader.read()
    db.write("VM", OTHER, "name_label", "other")

    assert reader.read().token == Token(1, 0)


def test_deletions_advance_the_token(db: Database):
    ref = db.create("network", {})
    reader = Reader(db, "network")
    reader.read()
    db.destroy("network", ref)
    reader.read()

    assert reader.position.generation == db.generation - 1


def test_one_object_in_any_case_of_the_class(db: Database):
    assert told(Reader(db, f"Vm/{VM}").read()) == [("add", "vm", VM)]


@pytest.mark.parametrize("classes", [[], ["nosuch"], ["session", "secret", "user", "event"]])
def test_what_never_matches(db: Database, classes: Sequence[str]):
    db.create("session", {})
    db.create("secret", {})
    batch = Reader(db, *classes).read()

    assert batch.events == []
    assert batch.token == Token(0, 0)


def test_counts_are_of_every_table_whatever_is_asked(db: Database):
    db.create("session", {})
    db.message_create("N", 3, "VM", "vm-uuid", "b")
    counts = Reader(db).read().counts

    assert (counts["vm"], counts["session"], counts["network"]) == (3, 1, 0)
    assert (counts["message"], counts["event"], counts["diagnostics"]) == (0, 0, 0)
    assert all(name == name.lower() for name in counts)


def test_a_future_token_sees_nothing_and_stays(db: Database):
    reader = Reader(db, "vm")
    reader.position = Token(9_999_999, 0)
    db.write("VM", VM, "name_label", "unseen")
    batch = reader.read()

    assert batch.events == []
    assert batch.token == Token(9_999_999, 0)


def test_late_readers_miss_deletions_but_counts_are_exact(db: Database):
    refs = [db.create("network", {}) for _ in range(600)]
    reader = Reader(db, "network")
    reader.read()
    for ref in refs:
        db.destroy("network", ref)
    batch = reader.read()

    assert len(batch.dels) == 345
    assert batch.counts["network"] == 0


def test_messages_come_first_with_id_0_and_a_position_of_their_own(db: Database):
    reader = Reader(db, "message", "vm")
    reader.read()
    db.write("VM", VM, "name_label", "x")
    ref = db.message_create("N", 3, "VM", "vm-uuid", "b")
    batch = reader.read()

    assert told(batch) == [("add", "message", ref), ("mod", "vm", VM)]
    assert batch.messages[0].generation == 0
    assert batch.token == Token(db.generation - 2, db.generation - 1)

    db.destroy("message", ref)
    assert told(reader.read()) == [("del", "message", ref)]


def test_without_messages_their_position_is_0(db: Database):
    db.message_create("N", 3, "VM", "vm-uuid", "b")

    assert Reader(db, "vm").read().token.messages == 0
    assert Reader(db, "*").read().token.messages == db.generation - 1


def test_inject_returns_a_token_that_the_touched_row_has_passed(db: Database):
    reader = Reader(db, "vm")
    reader.read()
    db.create("session", {})
    injected = Token.parse(Events(db, lambda _: None).inject("VM", VM))
    batch = reader.read()

    assert told(batch) == [("mod", "vm", VM)]
    assert batch.token.generation > injected.generation


@pytest.mark.parametrize(("cls", "ref"), [("vm", VM), ("VM", "bad"), ("nosuch", VM), ("event", "")])
def test_inject_refuses(db: Database, cls: str, ref: str):
    with pytest.raises(XapiError) as caught:
        Events(db, lambda _: None).inject(cls, ref)
    assert caught.value.description == ["HANDLE_INVALID", cls, ref]


def test_after_a_restart_known_objects_come_as_add_again(db: Database):
    metrics = db.create("VM_metrics", {})
    reader = Reader(db, "vm", "vm_metrics", "pool")
    reader.read()
    db.reindex()
    batch = reader.read()

    assert set(told(batch)) == {
        *(("add", "vm", ref) for ref in (VM, OTHER, DOM0)),
        ("add", "pool", POOL),
    }
    assert metrics not in {e.ref for e in batch.events}
