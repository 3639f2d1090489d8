"""What grants come to: scopes, denials, what goes with what, secrets, why."""

import pytest

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
    ref,
    rights,
    seen,
    shown,
    tag,
    told,
    upsert,
)
from xoproxy.auth.grants import EVERYTHING, Kind, Reach, Rights, Scope, Sight, by_filter
from xoproxy.auth.permissions import SECRETS, VIEW, Role
from xoproxy.cache.state import State
from xoproxy.cache.view import Everything
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId

ALL_OF_IT = OF_A | OF_B | THE_REST


@pytest.fixture
def store():
    return estate()


class TestScopes:
    @pytest.mark.parametrize(
        ("scope", "expected"),
        [
            (EVERYTHING, ALL_OF_IT),
            (pool("p"), ALL_OF_IT),
            (pool("q"), set()),
            (machine("a"), OF_A),
            (machine("a-then"), {"a-then"}),
            (machine("shared"), {"shared"}),
            (machine("net"), {"net"}),
            (machine("nothing"), set()),
            (Scope(Kind.OBJECT, PoolId("q"), "uuid-a"), set()),
            (tag("prod"), OF_A),
            (tag("pro"), set()),
            (tag("rack"), {"host"}),
            (by_filter("power_state:Running"), OF_A),
            (by_filter("tags:test power_state:Halted"), OF_B),
            (by_filter("!power_state:Running"), OF_B | {"a-then"}),
        ],
        ids=lambda value: str(value) if isinstance(value, Scope) else str(len(value)),
    )
    def test_reach_what_they_name_and_what_goes_with_it(self, store, scope, expected):
        assert seen(store, rights(given(scope))) == expected

    def test_nothing_is_seen_without_a_grant(self, store):
        assert rights().visibility(POOL) is None
        assert seen(store, rights()) == set()

    def test_a_pool_that_no_grant_reaches_is_not_there(self):
        held = rights(given(pool("p")), given(Scope(Kind.OBJECT, PoolId("q"), "uuid-a")))
        assert held.visibility(PoolId("p")) is not None
        assert held.visibility(PoolId("q")) is not None
        assert held.visibility(PoolId("r")) is None

    def test_several_add_up(self, store):
        held = rights(given(machine("a")), given(tag("test")), given(tag("rack")))
        assert seen(store, held) == OF_A | OF_B | {"host"}

    def test_a_filter_is_about_classes_that_have_all_its_fields(self, store):
        """What denies a running VM says nothing of networks."""
        held = rights(given(), denied(by_filter("!power_state:Halted tags:prod")))
        assert {"host", "net", "pbd"} <= seen(store, held)

    def test_a_tag_counts_in_lists_of_tags_only(self, store):
        values: list[object] = ["p", None, {"p": "p"}]
        odd = [upsert("network", f"odd-{n}", tags=value) for n, value in enumerate(values)]
        assert told(store, rights(given(tag("p"))), *odd) == set()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("resident_on.enabled:true", "cannot follow references"),
            ("web", "names a field in each term"),
            ("power_state:Running web", "names a field in each term"),
            ("power_state:Running enabled:true", "all of them in one class"),
            ("power_stat:Running", "power_stat"),
            ("(", ""),
            ("", ""),
            ("name_label:/(/", ""),
        ],
    )
    def test_filters_that_are_no_scope_are_refused_and_it_is_said_why(self, text, said):
        with pytest.raises(RequestRefused) as refused:
            by_filter(text)
        assert refused.value.code is ErrorCode.BAD_QUERY
        assert said in refused.value.message
        assert refused.value.message

    def test_filters_that_differ_in_spelling_are_one_scope(self):
        assert by_filter("tags:a  power_state:Running") == by_filter("(power_state:Running tags:a)")

    def test_read_as_people_write_them(self):
        scopes = [EVERYTHING, pool("p"), machine("a"), tag("t"), by_filter("tags:t")]
        assert list(map(str, scopes)) == [
            "everything",
            "pool p",
            "object p/uuid-a",
            "tag t",
            'filter tags:"t"',
        ]


class TestDenials:
    def test_win_over_every_grant(self, store):
        for scope in (EVERYTHING, pool("p"), machine("a"), tag("prod")):
            held = rights(given(scope), denied(machine("a")))
            assert seen(store, held).isdisjoint(OF_A - {"shared"})

    def test_of_everything_leave_no_pool(self):
        assert rights(given(), denied()).visibility(POOL) is None
        assert rights(given(machine("a")), denied(pool("p"))).visibility(POOL) is None

    def test_take_what_goes_with_the_denied_unless_it_goes_with_something_else(self, store):
        held = rights(given(), denied(machine("a")))
        assert seen(store, held) == ALL_OF_IT - OF_A | {"shared"}
        both = rights(given(), denied(machine("a")), denied(machine("b")))
        assert seen(store, both) == THE_REST

    def test_of_what_is_between_leave_both_ends_apart(self, store):
        """Who is denied a disk's device sees no disk by it."""
        held = rights(given(machine("a")), denied(machine("a-disk")))
        assert seen(store, held) == OF_A - {"a-disk", "of-a"}

    def test_by_a_role_without_the_permission_say_nothing_of_it(self, store):
        no_start = Role("no start", frozenset({"vm.power"}))
        held = rights(given(role="operator"), denied(machine("a"), no_start))
        assert seen(store, held) == ALL_OF_IT
        state = State(store, store.seq)
        assert not held.allows("vm.power.start", state, entry(store, "a"))
        assert held.allows("vm.power.start", state, entry(store, "b"))
        assert held.allows("vm.console", state, entry(store, "a"))

    def test_that_begin_are_told_of_all_that_they_take(self, store):
        held = rights(given(), denied(tag("off")))
        gone = told(store, held, upsert("VM", "a", tags=["off"], resident_on=ref("host")))
        assert gone == OF_A, "the shared disk is pointed at by one device less"

    def test_reach_through_what_is_not_seen(self, store):
        """A message goes with the metrics that go with the VM; of them only the message is seen."""
        about = upsert("VM_metrics", "metrics"), upsert("message", "m", obj_uuid="uuid-metrics")
        vm = {"resident_on": ref("host"), "metrics": ref("metrics")}
        told(store, rights(given()), *about, upsert("VM", "b", tags=[], **vm))
        store.classes |= {about[0].cls}
        held = rights(given(machine("m")), denied(tag("off")))
        assert seen(store, held) == {"m"}
        assert told(store, held, upsert("VM", "b", tags=["off"], **vm)) == {"m"}
        assert seen(store, held) == set()


class TestSecrets:
    SEES_SECRETS = Role("auditor", frozenset({VIEW, SECRETS}))

    def test_are_hidden_by_default(self, store):
        for role in ("viewer", "operator", "user"):
            held = rights(given(role=role))
            assert "device_config" not in shown(store, held, "pbd")
            assert shown(store, held, "host")["other_config"] == {"k": "v"}

    def test_are_shown_to_administrators_and_by_permission(self, store):
        for role in ("administrator", self.SEES_SECRETS):
            for scope in (EVERYTHING, pool("p")):
                held = rights(given(scope, role))
                assert held.visibility(POOL) == Everything()
                assert shown(store, held, "pbd")["device_config"] == {"chapuser": "u"}

    def test_need_a_grant_on_the_whole_pool(self, store):
        held = rights(given(tag("rack"), self.SEES_SECRETS))
        assert shown(store, held, "host")["other_config"] == {"k": "v"}
        elsewhere = rights(given(), given(pool("q"), self.SEES_SECRETS))
        assert "device_config" not in shown(store, elsewhere, "pbd")

    def test_are_hidden_by_any_denial_of_them(self, store):
        reader = Role("reader", frozenset({SECRETS}))
        held = rights(given(role=self.SEES_SECRETS), denied(machine("a"), reader))
        assert seen(store, held) == ALL_OF_IT
        assert "device_config" not in shown(store, held, "pbd")

    @pytest.mark.parametrize(
        "key",
        [
            "password",
            "iscsi_PASSWORD",
            "passwd",
            "chapuser",
            "secret_id",
            "xyz_token",
            "private_key",
            "credentials",
            "api_key",
            "apikey",
        ],
    )
    def test_keys_that_tell_them(self, key):
        assert not Sight(Reach(all=True)).shows_key("VM", "other_config", key)  # type: ignore[arg-type]

    @pytest.mark.parametrize("key", ["folder", "base_template_name", "mac_seed", "pass", "keymap"])
    def test_keys_that_do_not(self, key):
        assert Sight(Reach(all=True)).shows_key("VM", "other_config", key)  # type: ignore[arg-type]


class TestSharing:
    def test_equal_rights_are_equal_however_they_were_granted(self):
        one = rights(given(tag("x")), given(machine("a"))).visibility(POOL)
        other = rights(
            given(machine("a"), "operator"), given(tag("x"), "user"), given(pool("q"))
        ).visibility(POOL)
        assert one == other
        assert hash(one) == hash(other)
        assert one is not None
        assert other is not None
        assert one.scope == other.scope

    def test_different_rights_have_different_scopes(self):
        held = [
            (given(),),
            (given(tag("x")),),
            (given(tag("y")),),
            (given(machine("x")),),
            (given(by_filter("tags:x")),),
            (given(), denied(tag("x"))),
            (given(), denied(machine("x"))),
            (given(role="administrator"),),
        ]
        found = [rights(*grants).visibility(POOL) for grants in held]
        assert len({v.scope for v in found if v is not None}) == len(held)

    def test_a_scope_names_nothing_that_it_is_made_of(self):
        found = rights(given(tag("very secret customer"))).visibility(POOL)
        assert found is not None
        assert "customer" not in found.scope


class TestActing:
    def test_what_a_role_allows_on_its_scope_only(self, store):
        state = State(store, store.seq)
        held = rights(given(), given(tag("prod"), "operator"))
        may = {
            name: held.allows("vm.power.shutdown.clean", state, entry(store, name))
            for name in ("a", "b", "a-then", "host")
        }
        assert may == {"a": True, "b": False, "a-then": True, "host": False}
        assert not held.allows("vm.destroy", state, entry(store, "a"))

    def test_nobody_may_do_what_he_was_not_granted(self, store):
        state = State(store, store.seq)
        assert not rights().allows(VIEW, state, entry(store, "a"))
        assert not rights(given()).allows("vm.power.start", state, entry(store, "a"))


class TestAdministering:
    def test_takes_all_permissions_on_everything(self):
        assert rights(given(role="administrator")).administers
        assert rights(given(role=Role("root", frozenset({"*"})))).administers
        assert not rights(given(pool("p"), "administrator")).administers
        assert not rights(*(given(role=r) for r in ("viewer", "operator", "user"))).administers
        assert not rights().administers

    def test_ends_with_any_denial(self):
        """It would be none for somebody who can take it back."""
        for role in ("viewer", "administrator", Role("one", frozenset({"vm.console"}))):
            held = rights(given(role="administrator"), denied(machine("a"), role))
            assert not held.administers


class TestWhy:
    def why(self, store, held: Rights, permission: str, name: str):
        state = State(store, store.seq)
        found = held.why(permission, state, entry(store, name))
        return [(grant.id, e.ref.removeprefix("OpaqueRef:")) for grant, e in found]

    def test_names_the_grants_and_what_they_are_on(self, store):
        held = rights(given(tag("prod")), given(machine("b")), given(tag("rack")))
        assert self.why(store, held, VIEW, "of-a") == [("+tag prod", "a")]
        assert self.why(store, held, VIEW, "a") == [("+tag prod", "a")]
        assert sorted(self.why(store, held, VIEW, "shared")) == [
            ("+object p/uuid-b", "b"),
            ("+tag prod", "a"),
        ]
        assert self.why(store, held, VIEW, "net") == []

    def test_names_denials_first(self, store):
        held = rights(given(), denied(tag("prod")))
        assert self.why(store, held, VIEW, "of-a") == [("-tag prod", "a"), ("+everything", "of-a")]

    def test_is_about_one_permission(self, store):
        held = rights(given(), given(machine("a"), "operator"))
        assert self.why(store, held, "vm.power.start", "a") == [("+object p/uuid-a", "a")]
        assert self.why(store, held, "vm.destroy", "a") == []
