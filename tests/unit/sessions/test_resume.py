from xoproxy.model import Cursor, PoolId
from xoproxy.sessions.messages import ResumePoint
from xoproxy.sessions.resume import NO_DOCUMENTS, read_resume_points
from xoproxy.sessions.tokens import TokenSigner, view_hash

SIGNER = TokenSigner(b"key")
POOL = PoolId("p")
VIEW = view_hash(b"query", "everything", ("VM",))
OTHER_RIGHTS = view_hash(b"query", "tagged", ("VM",))
OTHER_QUERY = view_hash(b"other", "everything", ("VM",))
TOKEN = SIGNER.sign(Cursor("epoch", 7), POOL, VIEW)


def read(*points):
    return read_resume_points(SIGNER, points)


def test_the_greater_position_counts():
    assert read(ResumePoint(TOKEN, 9)).position(POOL, VIEW) == Cursor("epoch", 9)
    assert read(ResumePoint(TOKEN, 2)).position(POOL, VIEW) == Cursor("epoch", 7)


def test_a_position_is_of_one_view_of_one_pool():
    held = read(ResumePoint(TOKEN, 9))
    assert held.position(PoolId("q"), VIEW) is None
    assert held.position(POOL, OTHER_RIGHTS) is None
    assert held.position(POOL, OTHER_QUERY) is None


def test_what_is_offered_may_be_compared_whatever_the_rights():
    held = read(ResumePoint(TOKEN, 9, compare=True))
    assert held.may_compare("epoch", POOL, VIEW)
    assert held.may_compare("epoch", POOL, OTHER_RIGHTS)
    assert not held.may_compare("epoch", POOL, OTHER_QUERY)
    assert not held.may_compare("another", POOL, VIEW)
    assert not held.may_compare("epoch", PoolId("q"), VIEW)


def test_what_is_not_offered_is_not_compared():
    assert not read(ResumePoint(TOKEN, 9)).may_compare("epoch", POOL, VIEW)


def test_what_we_did_not_sign_is_left_out():
    foreign = TokenSigner(b"x").sign(Cursor("epoch", 7), POOL, VIEW)
    held = read(ResumePoint(foreign, 9, compare=True), ResumePoint("", 0, compare=True))
    assert held == NO_DOCUMENTS
