from xoproxy.model import XapiClass
from xoproxy.pool.census import Census

VM = XapiClass("VM")
TASK = XapiClass("task")


def compare(census, counts, held, removals=()):
    census.compare([VM, TASK], counts, lambda cls: held[cls], dict(removals))


def test_counts_that_agree_cause_nothing():
    census = Census(2, 60)
    for _ in range(3):
        compare(census, {"vm": 3, "task": 0, "session": 9}, {VM: 3, TASK: 0})

    assert census.due(100) == []
    assert census.wait_s(100) is None


def test_one_disagreement_is_looked_into_and_two_are_believed():
    census = Census(2, 60)
    compare(census, {"vm": 2}, {VM: 3, TASK: 0})

    assert census.due(100) == []
    assert census.wait_s(100) == 0
    compare(census, {"vm": 2}, {VM: 3, TASK: 0})
    assert census.due(100) == [VM]


def test_disagreements_that_are_not_in_a_row_are_forgotten():
    census = Census(2, 60)
    for count in (2, 3, 2):
        compare(census, {"vm": count}, {VM: 3, TASK: 0})

    assert census.due(100) == []


def test_a_full_list_of_removals_is_a_disagreement_though_counts_agree():
    census = Census(2, 60)
    compare(census, {"vm": 3}, {VM: 3, TASK: 0}, {VM: 257})
    assert census.wait_s(0) == 0
    compare(census, {"vm": 3}, {VM: 3, TASK: 0}, {VM: 256})
    assert census.due(0) == []
    for _ in range(2):
        compare(census, {"vm": 3}, {VM: 3, TASK: 0}, {VM: 300})
    assert census.due(0) == [VM]


def test_a_class_is_listed_at_most_once_per_interval_which_grows_in_vain():
    census = Census(2, 10)
    now = 0.0
    pauses = []
    for _ in range(5):
        census.listed(TASK, now)
        for _ in range(2):
            compare(census, {"task": 1}, {VM: 0, TASK: 2})
        assert census.due(now) == []
        pause = census.wait_s(now) or 0.0
        pauses.append(pause)
        now += pause
        assert census.due(now) == [TASK]

    assert pauses == [2, 4, 8, 10, 10]
    compare(census, {"task": 2}, {VM: 0, TASK: 2})
    census.listed(TASK, now)
    for _ in range(2):
        compare(census, {"task": 1}, {VM: 0, TASK: 2})
    assert census.wait_s(now) == 2, "agreement forgives"


def test_a_class_without_count_is_left_alone():
    census = Census(2, 60)
    for _ in range(2):
        compare(census, {}, {VM: 3, TASK: 0})

    assert census.due(0) == []
    assert census.mismatch_count == 0
