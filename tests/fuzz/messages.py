"""What may stand in a frame instead of a protocol message, by a seeded source."""

import json
import random
from typing import Any

import msgpack

_TEXTS = [
    "", "x", "é\u0000", "\U0001f40d" * 20, "y" * 5000, "null", "1", "../..", "OpaqueRef:NULL", "*",
    "VM", "vm", "host", "xop_aaaaaaaa_bbbbbbbb", "power_state:Running", "proxy",
]  # fmt: skip
FILTERS = [
    "power_state:Running", "tags:(prod !old)", "name_label:/^web-\\d+$/i", "!is_a_template",
    "VCPUs_max:>4 | memory_static_max:<4GiB", 'other_config."xo:id":null', "web front",
    "resident_on.name_label:xen", "snapshot_time:>=2024-01-31", "((((a))))",
    "name_label:/(a|b)*c{2,5}/",
    "(" * 60 + "a" + ")" * 60, "a " * 300, "/" + "(a*)*" * 40 + "/",
    "name_label:/[^\\W\\d]{3,250}/",
    '"unclosed', "power_state:", "!!!!", "a:b:c:d", "tags:(a|(b|(c|d)))",
]  # fmt: skip
_NUMBERS = [0, 1, -1, 2**31, 2**53, 2**63, 2**64 - 1, 1e308, 1e-9, 0.5, True, False]
_CLASSES = ["VM", "host", "pool", "VBD", "pool_link", "*", "secret", "vm", ""]
_METHODS = [
    "VM.start",
    "VM.get_all_records",
    "session.logout",
    "event.from",
    "x",
    "host.",
    "VM.clone",
]
_TYPES = [
    "auth", "subscribe", "subscribe", "subscribe", "unsubscribe", "window", "call", "ping",
    "digests", "welcome", "patch", "", "Subscribe",
]  # fmt: skip


def anything(rng: random.Random, depth: int = 3) -> Any:
    """Draw any JSON value."""
    match rng.randrange(6 if depth else 3):
        case 0:
            return rng.choice(_TEXTS)
        case 1:
            return rng.choice([None, *_NUMBERS])
        case 2:
            return rng.choice(FILTERS)
        case 3:
            return [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
        case _:
            names = ["id", "type", "query", "classes", *_TEXTS[:4]]
            return {rng.choice(names): anything(rng, depth - 1) for _ in range(rng.randrange(4))}


def query(rng: random.Random) -> Any:
    """Draw a query: mostly nearly right."""
    found: dict[str, Any] = {"classes": rng.choices(_CLASSES[:5], k=rng.choice([1, 1, 2]))}
    if rng.random() < 0.5:
        found["filter"] = rng.choice(FILTERS)
    if rng.random() < 0.3:
        found["fields"] = {"VM": rng.choices(["name_label", "other_config.x", "tags", "x"], k=2)}
    if rng.random() < 0.2:
        found["rate"] = rng.choice([1, 0.01, 100, 0, -1, "1"])
    if rng.random() < 0.3:
        found["classes"] = ["VM"]
        found["window"] = rng.choice([[0, 50], [5, 1], [0, 0], [10**9, 1000], [-1, 5], [0]])
        found["order"] = rng.choice([["name_label"], ["-memory_static_max", "uuid"], [], ["-"]])
        found["facets"] = rng.choice([["power_state"], ["tags", "other_config.x"], [], "tags"])
    if rng.random() < 0.2:
        found[rng.choice(["classes", "filter", "fields", "pools", "window", "rate", "x"])] = (
            anything(rng)
        )
    return found


def message(rng: random.Random) -> Any:
    """Draw a message: mostly nearly right."""
    if rng.random() < 0.1:
        return anything(rng)
    found: dict[str, Any] = {"type": rng.choice(_TYPES), "id": rng.choice([1, 2, "a", 2**63])}
    match found["type"]:
        case "auth":
            found |= {"token": rng.choice(_TEXTS)}
        case "subscribe":
            found["query"] = query(rng)
            if rng.random() < 0.2:
                token = rng.choice(["", "x" * 200, "A" * 500, "é", "====", "lQGiZXBvY2g"])
                found["resume"] = [{"token": token, "seq": rng.choice([0, 2**62, -1])}]
        case "window":
            found["window"] = rng.choice(
                [[0, 5], [3, 1000], [0, 0], [2**40, 1], [-1, 1], [1, 2, 3]]
            )
        case "call":
            found |= {
                "pool": rng.choice(_TEXTS),
                "method": rng.choice(_METHODS),
                "params": anything(rng),
                "expect": rng.choice([[], [{"view": 1, "key": "2s", "seq": 1}], anything(rng)]),
            }
        case "digests":
            found |= {
                "view": rng.choice([0, 1, 2, 2**40]),
                "buckets": rng.choice([1, 256, 16_384, 3, 0, -1]),
                "digests": rng.choice(["", "AAAAAAAAAAA=", "A" * 10_000, "é"]),
            }
    if rng.random() < 0.2:
        found[rng.choice(["id", "type", "query", "window", "pool", "token", "view"])] = anything(
            rng
        )
    if rng.random() < 0.05:
        found.pop(rng.choice(list(found)))
    return found


def odd_payload(rng: random.Random, *, binary: bool) -> bytes:
    """Draw the content of a frame in one of the encodings, right or wrong."""
    kind = rng.random()
    if kind < 0.1:
        return rng.choice(_ODD_MSGPACK if binary else _ODD_JSON)
    if binary:
        data: bytes = msgpack.packb(_packable(message(rng)))
    else:
        data = json.dumps(message(rng)).encode()
    if kind < 0.2:
        at = rng.randrange(len(data) + 1)
        return data[:at] + rng.randbytes(rng.randrange(3)) + data[at + rng.randrange(3) :]
    return data


def _packable(value: Any) -> Any:
    """Spell what MessagePack cannot carry otherwise."""
    match value:
        case dict():
            return {k: _packable(v) for k, v in value.items()}
        case list():
            return [_packable(v) for v in value]
        case bool():
            return value
        case int() if not -(2**63) <= value < 2**64:
            return float(value)
        case _:
            return value


_ODD_JSON = [
    b"", b" ", b"null", b"[]", b"{}", b"1", b'"x"', b"{", b'{"type"', b"[" * 100_000,
    b'{"a":' * 5000,
    b'{"type":"ping","type":"auth"}', b'{"type":NaN}', b'{"type":"ping","id":1e999}',
    b'{"type":"ping","id":' + b"9" * 5000 + b"}", b'{"type":"\\ud800"}', b"\xef\xbb\xbf{}",
    b'{"type":"subscribe","id":1,"query":{"classes":' + b'["VM",' * 3000 + b"]}}", b"\x00" * 50,
]  # fmt: skip
_ODD_MSGPACK = [
    b"", b"\x80", b"\xc0", b"\xc1", b"\x90", b"\x81", b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xffabc", b"\x91" * 100_000, b"\x81\xa1a" * 5000, b"\xc7\x03\x01abc",
    b"\x81\xa4type\xc4\x04ping", b"\x81\xa4type\xa4p\xffng", b"\x81\x01\x02",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\x82\xa4type\xa4ping\xa2id\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\x81\xc0\xc0",
    b"\x81\x90\x01",
]  # fmt: skip
