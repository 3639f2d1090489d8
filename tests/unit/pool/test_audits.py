from xoproxy.model import Ref, XapiClass
from xoproxy.pool.audits import Audits

CLASSES = [XapiClass(name) for name in ("SR", "VM", "host")]


def turns(audits: Audits, *times_s: float) -> list[str | None]:
    return [audits.due(CLASSES, now_s) for now_s in times_s]


def test_each_class_has_its_turn_once_in_a_round():
    assert turns(Audits(30), 0, 5, 10, 11, 20, 30, 40) == [
        None, None, "SR", None, "VM", "host", "SR",
    ]  # fmt: skip


def test_a_late_look_makes_up_for_nothing():
    assert turns(Audits(30), 0, 100, 101, 110) == [None, "SR", None, "VM"]


def test_without_a_round_or_classes_nobody_has_a_turn():
    assert turns(Audits(0), 0, 100) == [None, None]
    assert Audits(30).due([], 100) is None


def test_classes_may_change_between_two_turns():
    audits = Audits(20)
    assert [audits.due(CLASSES, now) for now in (0.0, 10.0)] == [None, "SR"]
    assert audits.due([XapiClass("host")], 30) == "host"


def test_a_correction_that_the_next_reply_tells_was_no_fault():
    audits = Audits(30)
    audits.corrected([Ref("a"), Ref("b")])

    assert audits.explained(["b", "c"]) == 1
    assert audits.explained([]) == 0


def test_what_is_listed_anyway_needs_no_explanation():
    audits = Audits(30)
    audits.corrected([Ref("a")])
    audits.forget()

    assert audits.explained([]) == 0
