"""What an explanation names is what decides: without it, the answer is another one."""

from datetime import UTC, datetime

from hypothesis import given as given_by
from hypothesis import strategies as st

from tests.unit.auth.estate import (
    OF_A,
    OF_B,
    POOL,
    THE_REST,
    denied,
    entry,
    estate,
    given,
    machine,
    pool,
    tag,
)
from xoproxy.auth import Account, Rights
from xoproxy.auth.grants import EVERYTHING
from xoproxy.cache.state import State
from xoproxy.rest.why import explanation

STORE = estate()
BOB = Account("b0b", "bob", "", "-", True, datetime(2026, 1, 1, tzinfo=UTC))
SCOPES = [EVERYTHING, pool("p"), pool("elsewhere"), tag("prod"), tag("test")]
SCOPES += [machine(name) for name in ("a", "b", "of-a", "shared", "a-disk", "host")]

grants = st.lists(
    st.builds(
        lambda make, scope, role: make(scope, role),
        st.sampled_from([given, denied]),
        st.sampled_from(SCOPES),
        st.sampled_from(["viewer", "operator", "user"]),
    ),
    max_size=6,
    unique_by=lambda grant: grant.id,
)


@given_by(
    grants,
    st.sampled_from(sorted(OF_A | OF_B | THE_REST)),
    st.sampled_from(["view", "vm.power.start", "vm.destroy"]),
)
def test_without_the_grants_that_are_named_the_answer_is_another_one(held, name, permission):
    state, target = State(STORE, STORE.seq), entry(STORE, name)

    def explained(some):
        return explanation(BOB, Rights(some), permission, state, target, {POOL: "lab"})

    answer = explained(held)
    named = {reason.grant for reason in answer.because}
    assert answer.allowed is Rights(held).allows(permission, state, target)
    assert all(reason.deny is not answer.allowed for reason in answer.because)
    others = [grant for grant in held if grant.id not in named]
    if named:
        assert explained(others).allowed is not answer.allowed
    else:
        assert not answer.allowed
        assert not explained([grant for grant in held if not grant.deny]).allowed
    if answer.allowed:  # each of them alone would do
        for grant in held:
            if grant.id in named:
                assert explained([*(g for g in others if g.deny), grant]).allowed
