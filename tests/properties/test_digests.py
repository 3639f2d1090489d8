"""The vectors for client authors are right, and there is one canonical text of every value."""

import json
import math
import random
import shutil
import struct
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties import digests
from xoproxy.cache.canonical import canonical

GOLDEN = Path(__file__).parents[1] / "golden" / "digests.json"
VECTORS = json.loads(GOLDEN.read_text())

_NODE = shutil.which("node")
_integers = st.integers(-(2**63), 2**64 - 1)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_scalars = st.none() | st.booleans() | _integers | _finite | st.text()
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@pytest.mark.parametrize(
    "vector", VECTORS["canonical"] + VECTORS["beyond_doubles"], ids=lambda v: v["json"]
)
def test_canonical_texts(vector):
    assert digests.canonical(json.loads(vector["json"])) == vector["canonical"]
    assert canonical(vector["json"].encode()).decode() == vector["canonical"]


@pytest.mark.parametrize("vector", VECTORS["documents"], ids=lambda v: v["name"])
def test_documents(vector):
    document = vector["document"]
    named = {(o["class"], o["key"]): o for o in vector["objects"]}
    assert set(named) == {(cls, key) for cls in document for key in document[cls]}
    for (cls, key), expected in named.items():
        record = document[cls][key]
        assert expected == {
            "class": cls,
            "key": key,
            "canonical": digests.canonical([cls, key, record]),
            "place": digests.place(cls, key),
            "digest": digests.object_digest(cls, key, record).hex(),
        }
    for buckets, expected in vector["digests"].items():
        assert digests.digests(document, int(buckets)) == expected


@pytest.mark.parametrize("vector", VECTORS["repairs"], ids=lambda v: v["name"])
def test_repairs(vector):
    document, buckets = deepcopy(vector["held"]), vector["buckets"]
    assert digests.digests(document, buckets) == vector["digests"]
    first, *others = messages = vector["snapshots"]
    digests.remove_buckets(document, buckets, first["buckets"])
    for message in messages:
        for key, row in zip(message["keys"], message["rows"], strict=True):
            document[message["class"]][key] = dict(zip(message["fields"], row, strict=True))
    assert document == vector["document"]
    assert [m["last"] for m in messages] == [False] * len(others) + [True]
    assert not any("buckets" in message for message in others)


@given(_values, st.booleans(), st.sampled_from([None, 1]))
@example({"\uffff": 0, "\ue000": 0, "\U00010000": {"\U0001f600": 1, "\ufb33": 2}}, True, None)
def test_every_spelling_of_a_value_has_one_text(value, ascii_only, indent):
    spelt = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    text = canonical(spelt.encode()).decode()
    assert text == digests.canonical(value)
    assert canonical(text.encode()).decode() == text


@given(_finite)
@example(1e21)
@example(1e-7)
@example(2.0**53)
@example(123456789012345680000.0)
@example(5e-324)
def test_a_number_is_written_shortest_and_means_the_same(value):
    text = canonical(json.dumps(value).encode())
    assert text.decode() == digests.canonical(value)
    assert float(text) == value


def test_infinity_is_null():
    assert canonical(b"[1e400,-1E+400]") == b"[null,null]"


_JAVASCRIPT = """
const canonical = (v) => Array.isArray(v) ? `[${v.map(canonical)}]`
  : v !== null && typeof v === "object"
    ? `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`)}}`
    : JSON.stringify(v);
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(texts.map((t) => canonical(JSON.parse(t)))));
"""


def _in_javascript(texts: list[str]) -> list[str]:
    if _NODE is None:
        pytest.skip("node is not installed: ECMAScript cannot be asked how it writes numbers")
    command = [_NODE, "-e", _JAVASCRIPT]
    ran = subprocess.run(  # noqa: S603 - our own text
        command, input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def test_ecmascript_writes_the_vectors_so():
    texts = [v["json"] for v in VECTORS["canonical"] + VECTORS["beyond_doubles"]]
    expected = [v["canonical"] for v in VECTORS["canonical"]]
    expected += [v["double"] for v in VECTORS["beyond_doubles"]]
    assert _in_javascript(texts) == expected


def test_ecmascript_writes_what_we_write():
    rng = random.Random(8785)
    bits = [rng.getrandbits(64).to_bytes(8, "big") for _ in range(5_000)]
    doubles = [value for b in bits if math.isfinite(value := struct.unpack(">d", b)[0])]
    scaled = [rng.randint(-(2**53), 2**53) / 10 ** rng.randint(0, 30) for _ in range(5_000)]
    texts = [json.dumps(value) for value in doubles + scaled]
    assert _in_javascript(texts) == [canonical(text.encode()).decode() for text in texts]
