"""Whatever a client says: it is answered or obeyed, and nobody else notices."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sessions.wire import Person, loaded, upsert
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.messages import Limits
from xoproxy.sessions.session import Authenticate, RunCall

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
_anything = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _mostly(*good):
    return st.sampled_from(good) | st.sampled_from(good) | _anything


_queries = st.fixed_dictionaries(
    {"classes": _mostly(["VM"], ["*"], ["VM", "host"])},
    optional={
        "filter": _mostly("power_state:Running", "(", "name_label:/x/", ""),
        "fields": _mostly({"VM": ["name_label"]}, {"VM": []}, {"host": ["enabled"]}),
        "pools": _mostly(["p"], ["p", "p"], ["nowhere"]),
        "window": _anything,
    },
)
_members = {
    "id": _mostly(1, 2, "a"),
    "query": _queries | _anything,
    "resume": _mostly([], [{"token": "x", "seq": 1}]),
    "pool": _mostly("p", "nowhere"),
    "method": _mostly("VM.start"),
    "params": _mostly({}, {"vm": "OpaqueRef:a"}),
    "expect": _mostly([], [{"view": 2, "key": "0", "seq": 3}]),
    "window": _mostly([0, 10]),
    "view": _mostly(1, 2),
    "buckets": _mostly(1, 4),
    "digests": _mostly("AAAAAAAAAAA="),
    "token": _anything,
    "username": _anything,
}
_types = ["auth", "subscribe", "unsubscribe", "digests", "window", "call", "ping"]
_messages = st.fixed_dictionaries(
    {"type": st.sampled_from([*_types, "subscribe", "subscribe"]) | _anything}, optional=_members
)


@given(st.lists(_messages, max_size=12), st.sampled_from(Codec))
def test_any_messages_are_answered_and_disturb_nobody(messages, codec):
    desk = loaded()
    witness = desk.connect()
    witness.subscribes()
    desk.flush()
    witness.hears()
    client = desk.connect(Person(), codec=codec, limits=Limits(subscriptions=2))

    for message in messages:
        effect = client.session.receive(message)
        answers = client.hears()
        if effect is None:
            assert [a["type"] for a in answers] in (
                [["subscribed"], ["result"], ["error"], ["pong"]]
            )
        else:
            assert isinstance(effect, RunCall | Authenticate)
            assert answers == []
    assert client.line.closed is None
    desk.commit(upsert("a", name_label="seen", power_state="Running"))
    desk.flush()

    assert [m["type"] for m in witness.hears()] == ["patch"]
    client.says("ping", id="last")
    assert client.hears()[-1] == {"type": "pong", "id": "last"}
    client.leaves()
    assert len(desk.hub.groups) == 1
