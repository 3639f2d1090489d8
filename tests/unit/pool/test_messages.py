from xoproxy.model import Entry, Key, Ref, Removal, Upsert
from xoproxy.pool.messages import MESSAGE, newest


def record(second):
    return b'{"name":"VM_STARTED","timestamp":"20260101T00:00:%02dZ"}' % second


def told(*seconds):
    return [Upsert(MESSAGE, Ref(f"m{s}"), record(s)) for s in seconds]


def held(*seconds):
    return [Entry(Key(str(s)), Ref(f"m{s}"), MESSAGE, 1, record(s)) for s in seconds]


def outcome(events):
    events = list(events)
    return (
        {e.ref for e in events if isinstance(e, Upsert)},
        {e.ref for e in events if isinstance(e, Removal)},
    )


def test_the_newest_are_kept_whatever_the_order():
    assert ({"m3", "m9"}, set()) == outcome(newest([], told(3, 1, 9, 2), 2, whole=False))


def test_old_ones_make_room_and_late_old_ones_are_not_taken():
    assert ({"m5"}, {"m2"}) == outcome(newest(held(2, 4), told(1, 5), 2, whole=False))


def test_a_whole_list_removes_what_it_lacks():
    assert ({"m4", "m7"}, {"m2"}) == outcome(newest(held(2, 4), told(4, 7), 10, whole=True))


def test_dashed_dates_and_broken_ones_sort_too():
    dashed = Upsert(MESSAGE, Ref("dashed"), b'{"timestamp":"2026-01-01T00:00:30Z"}')
    broken = Upsert(MESSAGE, Ref("broken"), b'{"timestamp":7}')

    assert ({"m40", "dashed"}, set()) == outcome(
        newest([], [*told(40, 20), dashed, broken], 2, whole=False)
    )
