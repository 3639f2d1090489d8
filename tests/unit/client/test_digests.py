"""Digests are those of tests/golden/digests.json, on which all sides agree."""

import json
from typing import Any

import pytest

from tests.unit.client.golden import GOLDEN
from xoproxy.client.digests import bucket_count, canonical, digests, empty_buckets
from xoproxy.client.document import Document
from xoproxy.client.errors import ProtocolFault

VECTORS: dict[str, Any] = json.loads((GOLDEN / "digests.json").read_text())


def document_of(content: dict[str, Any]) -> Document:
    document = Document(content)
    document.classes.update(content)
    return document


@pytest.mark.parametrize("vector", VECTORS["canonical"] + VECTORS["beyond_doubles"])
def test_canonical_text(vector):
    assert canonical(json.loads(vector["json"])) == vector["canonical"].encode()


@pytest.mark.parametrize("vector", VECTORS["documents"], ids=lambda vector: vector["name"])
def test_digests(vector):
    for buckets, expected in vector["digests"].items():
        assert digests(document_of(vector["document"]), int(buckets)) == expected


@pytest.mark.parametrize("vector", VECTORS["repairs"], ids=lambda vector: vector["name"])
def test_repairs(vector):
    document = document_of(vector["held"])
    assert digests(document, vector["buckets"]) == vector["digests"]
    empty_buckets(document, vector["snapshots"][0]["buckets"], vector["buckets"])
    for message in vector["snapshots"]:
        document.put_rows(message["class"], message["fields"], message["keys"], message["rows"])
    assert document.classes == vector["document"]


@pytest.mark.parametrize(
    ("objects", "buckets"),
    [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 4), (1024, 256), (1025, 512), (10**6, 16_384)],
)
def test_about_one_bucket_for_four_objects(objects, buckets):
    assert bucket_count(objects) == buckets


@pytest.mark.parametrize("bucket", [-1, 4])
def test_a_bucket_that_is_none_is_a_fault(bucket):
    with pytest.raises(ProtocolFault):
        empty_buckets(Document(["VM"]), [bucket], 4)
