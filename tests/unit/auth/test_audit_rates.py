"""Those who ask in vain do not fill the audit log."""

from xoproxy.auth.audit import DONE, SIGN_IN, Action
from xoproxy.auth.audit_rates import Rates

REFUSED = Action(SIGN_IN, "UNAUTHORISED", peer="192.0.2.7")


def written(rates, actions):
    return [action for action in actions if rates.admit(action)]


def test_what_is_done_is_always_written():
    rates = Rates()
    calls = [Action("VM.start", result) for result in (DONE, "XAPI_FAILURE")] * 1_000

    assert written(rates, calls) == calls
    assert rates.due(100.0) == []


def test_refusals_of_one_kind_are_written_a_few_times_and_then_counted():
    rates = Rates()

    assert len(written(rates, [REFUSED] * 100)) == 10
    assert rates.due(30.0) == ()
    assert rates.due(60.0) == [Action(SIGN_IN, "UNAUTHORISED", peer="192.0.2.7", count=90)]
    assert rates.due(120.0) == []
    assert rates.admit(REFUSED)


def test_what_is_held_back_is_not_lost_at_the_end():
    rates = Rates()
    written(rates, [REFUSED] * 11)

    assert [action.count for action in rates.due(1.0, at_once=True)] == [1]


def test_a_thousand_addresses_that_guess_have_one_bound():
    rates = Rates()
    guesses = [Action(SIGN_IN, "UNAUTHORISED", peer=f"192.0.2.{n}") for n in range(1_000)]

    assert len(written(rates, guesses)) == 300
    assert rates.due(60.0) == [Action(SIGN_IN, "UNAUTHORISED", count=700)]


def test_sign_ins_of_a_thousand_people_are_all_written():
    rates = Rates()
    people = [Action(SIGN_IN, account_id=f"a{n}", peer="192.0.2.7") for n in range(1_000)]

    assert written(rates, people) == people
    assert len(written(rates, [people[0]] * 20)) == 9
