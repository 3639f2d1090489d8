"""Groups that linger when nobody needs them any more."""

from tests.unit.sessions.wire import VM, Desk, upsert
from xoproxy.cache.journal import JournalBudget


def vm(name, label):
    return upsert(name, VM, name_label=label)


def begun(budget=None, **sizes):
    desk = Desk(budget, **{"idle_groups": 8} | sizes)
    desk.commit(vm("a", "x"), vm("b", "y"))
    return desk


def came_and_went(desk, query=None):
    """Have a client come, get all there is, and go; return what it was given to resume."""
    client = desk.connect()
    client.subscribes(1, query)
    desk.flush()
    *_, bookmark = client.hears()
    client.leaves()
    return {"token": bookmark["resume"], "seq": bookmark["seq"]}


def counts(desk):
    counters = desk.hub.counters
    return counters.groups_created, counters.groups_reused, counters.groups_expired


def test_who_comes_back_finds_what_was_encoded_for_him():
    desk = begun()
    came_and_went(desk)
    (group,) = desk.hub.groups.values()
    encoded = group.snapshot()
    client = desk.connect()
    client.subscribes()
    desk.flush()
    assert group.snapshot() is encoded
    assert client.line.writes[0] is encoded.frames[0].wire(deflate=False)
    assert counts(desk) == (1, 1, 0)


def test_it_is_not_read_meanwhile_and_catches_up_when_it_is_needed():
    desk = begun()
    point = came_and_went(desk)
    (group,) = desk.hub.groups.values()
    desk.commit(vm("a", "changed"))
    desk.flush()
    assert group.position == 2

    client = desk.connect()
    assert client.subscribes(resume=[point])["mode"] == "resume"
    fresh = desk.connect()
    assert fresh.subscribes()["seq"] == 2
    desk.flush()
    (patch,) = client.hears()
    assert [op["value"] for op in patch["ops"]] == ["changed"]
    assert [m["type"] for m in fresh.hears()] == ["snapshot", "bookmark", "patch"]
    assert counts(desk) == (1, 1, 0)


def test_after_many_changes_it_begins_anew(monkeypatch):
    monkeypatch.setattr("xoproxy.sessions.groups._WORTH_READING", 3)
    desk = begun()
    came_and_went(desk)
    for number in range(4):
        desk.commit(vm("a", f"{number}"))
    desk.flush()
    client = desk.connect()
    assert client.subscribes()["seq"] == 6
    desk.flush()
    assert [m["type"] for m in client.hears()] == ["snapshot", "bookmark"]


def test_without_history_it_begins_anew():
    desk = begun(JournalBudget(pool_bytes=0))
    came_and_went(desk)
    desk.commit(vm("a", "z"))
    desk.flush()
    client = desk.connect()
    assert client.subscribes()["seq"] == 3
    desk.flush()
    assert [m["type"] for m in client.hears()] == ["snapshot", "bookmark"]


def test_it_lasts_until_the_second_round_of_bookmarks():
    desk = begun()
    came_and_went(desk)
    desk.bookmarks()
    assert len(desk.hub.groups) == 1
    desk.bookmarks()
    assert not desk.hub.groups
    assert counts(desk) == (1, 0, 1)
    desk.commit(vm("a", "z"))
    assert not desk.hub.has_work


def test_one_that_is_needed_again_does_not_expire():
    desk = begun()
    came_and_went(desk)
    desk.bookmarks()
    client = desk.connect()
    client.subscribes()
    for _ in range(3):
        desk.bookmarks()
    assert len(desk.hub.groups) == 1


def test_only_so_many_linger():
    desk = begun(idle_groups=2)
    for label in ("u", "v", "w"):
        came_and_went(desk, {"classes": ["VM"], "filter": f"name_label:{label}"})
    texts = [group.view.filter.text for group in desk.hub.groups.values()]
    assert len(texts) == 2
    assert "v" in texts[0]
    assert "w" in texts[1]


def test_they_go_with_their_pool():
    desk = begun()
    came_and_went(desk)
    desk.hub.remove_pool(desk.store.pool)
    assert not desk.hub.groups
    desk.bookmarks()
    desk.bookmarks()
