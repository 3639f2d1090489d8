"""What the golden conversations leave open, and this client is strict about."""

import pytest

from xoproxy.client.document import Document
from xoproxy.client.errors import ProtocolFault
from xoproxy.client.messages import Bookmark, Snapshot, ViewInfo
from xoproxy.client.replica import Replica


@pytest.fixture
def replica():
    return Replica(ViewInfo(view=7, seq=10, classes=["VM"], mode="snapshot", pool="p", epoch="e"))


def snapshot(*, last=True, buckets=None, **more):
    return Snapshot(
        view=7, seq=10, last=last, cls="VM", fields=[], keys=[], rows=[], buckets=buckets, **more
    )


def test_buckets_that_nobody_compares_are_a_fault(replica):
    with pytest.raises(ProtocolFault, match="buckets"):
        replica.add_rows(snapshot(buckets=[0]))


def test_an_answer_to_digests_without_buckets_is_a_fault(replica):
    replica.compare(Document(["VM"]))
    with pytest.raises(ProtocolFault, match="buckets"):
        replica.add_rows(snapshot())


def test_a_bucket_that_there_is_not_is_a_fault(replica):
    replica.compare(Document(["VM"]))
    with pytest.raises(ProtocolFault, match="none of 1"):
        replica.add_rows(snapshot(buckets=[1]))


def test_a_comparison_leaves_what_was_held_as_it_was(replica):
    held = Document(["VM"])
    held.classes["VM"]["a"] = {"$ref": "R:a"}
    replica.compare(held)
    replica.add_rows(snapshot(buckets=[0]))
    assert (len(replica.document), len(held)) == (0, 1)


@pytest.mark.parametrize("seq", [9, 11])
def test_a_token_of_another_position_is_not_kept(replica, seq):
    replica.add_rows(snapshot())
    replica.bookmark(Bookmark(view=7, seq=10, resume="good"))
    replica.bookmark(Bookmark(view=7, seq=seq, resume="other"))
    assert replica.resume_point == {"token": "good", "seq": 10}


def test_a_token_of_half_a_document_is_not_kept(replica):
    replica.add_rows(snapshot(last=False))
    replica.bookmark(Bookmark(view=7, seq=10, resume="early"))
    replica.add_rows(snapshot())
    assert replica.resume_point is None


def test_a_window_without_its_members_is_a_fault():
    window = Replica(ViewInfo(view=7, seq=10, classes=["VM"], mode="snapshot"))
    with pytest.raises(ProtocolFault, match="order or total"):
        window.add_rows(snapshot(order=[]))
