import msgspec
import pytest

from xoproxy.cache.diff import split
from xoproxy.model import Entry, Key, Ref, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import FrameLedger
from xoproxy.sessions.rows import Chunk, SharedRows, make_row

VM, HOST = XapiClass("VM"), XapiClass("host")


def row(key="1", cls=VM, codec=Codec.JSON, **fields):
    raw = msgspec.json.encode(fields)
    return make_row(codec, Entry(Key(key), Ref(f"OpaqueRef:{key}"), cls, 1, raw), split(raw))


@pytest.mark.parametrize(
    ("codec", "decode"),
    [(Codec.JSON, msgspec.json.decode), (Codec.MSGPACK, msgspec.msgpack.decode)],
)
def test_a_row_begins_with_the_reference(codec, decode):
    made = row(codec=codec, name_label="é", VCPUs_max=2, tags=["x"])
    assert made.names == ("$ref", "name_label", "VCPUs_max", "tags")
    assert decode(made.values) == ["OpaqueRef:1", "é", 2, ["x"]]


class TestChunk:
    def test_takes_rows_of_one_class_and_one_list_of_fields(self):
        chunk = Chunk(VM)
        chunk.add(row("1", a=1))
        assert chunk.takes(row("2", a=2), 1000)
        assert not chunk.takes(row("2", HOST, a=2), 1000)
        assert not chunk.takes(row("2", b=2), 1000)
        assert not chunk.takes(row("2", a=2, b=2), 1000)

    def test_takes_no_more_than_fits(self):
        chunk = Chunk(VM)
        great = row("1", a="x" * 500)
        assert chunk.takes(great, 100)  # the first one, whatever its size
        chunk.add(great)
        assert not chunk.takes(row("2", a=""), 500)

    def test_becomes_a_message(self):
        chunk = Chunk(HOST, [3, 5])
        chunk.add(row("1", a=1))
        chunk.add(row("2", a=2))
        assert msgspec.json.decode(msgspec.json.encode(chunk.message(7, 42, last=True))) == {
            "type": "snapshot",
            "view": 7,
            "seq": 42,
            "last": True,
            "class": "VM",
            "fields": ["$ref", "a"],
            "keys": ["1", "2"],
            "rows": [["OpaqueRef:1", 1], ["OpaqueRef:2", 2]],
            "buckets": [3, 5],
        }

    def test_an_empty_one_names_the_class_it_was_made_for(self):
        message = Chunk(HOST).message(7, 42, last=True)
        assert (message.class_, message.rows, message.buckets) == ("host", [], msgspec.UNSET)


class TestSharedRows:
    def test_keeps_what_was_put(self):
        rows = SharedRows(FrameLedger())
        assert rows.get(Key("1")) is None
        rows.put(row("1", a=1))
        assert rows.get(Key("1")) == row("1", a=1)

    def test_objects_with_the_same_fields_share_their_names(self):
        rows = SharedRows(FrameLedger())
        rows.put(row("1", a=1))
        rows.put(row("2", a=2))
        one, two = rows.get(Key("1")), rows.get(Key("2"))
        assert one is not None
        assert two is not None
        assert one.names is two.names

    def test_is_weighed_while_it_is_kept(self):
        ledger = FrameLedger()
        rows = SharedRows(ledger)
        rows.put(row("1", a="x" * 100))
        assert ledger.used_bytes > 100
        del rows
        assert ledger.used_bytes == 0
