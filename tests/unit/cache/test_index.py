from xoproxy.cache.index import ByClass, References, references_in
from xoproxy.model import Entry, Key, Ref, XapiClass

VM, HOST = XapiClass("VM"), XapiClass("host")


def entry(key: str, cls=VM, raw=b"{}") -> Entry:
    return Entry(Key(key), Ref(f"OpaqueRef:{key}"), cls, 1, raw)


def test_references_are_found_wherever_they_stand():
    raw = (
        b'{"resident_on":"OpaqueRef:h-1","affinity":"OpaqueRef:NULL","VBDs":["OpaqueRef:d1",'
        b'"OpaqueRef:d2"],"current_operations":{"OpaqueRef:t1":"start"},'
        b'"result":"<value>OpaqueRef:r1</value>"}'
    )

    assert {
        "OpaqueRef:h-1",
        "OpaqueRef:d1",
        "OpaqueRef:d2",
        "OpaqueRef:t1",
        "OpaqueRef:r1",
    } == references_in(raw)


def test_a_reference_that_begins_like_null_is_one():
    assert {"OpaqueRef:NULL-1"} == references_in(b'["OpaqueRef:NULL","OpaqueRef:NULL-1"]')


def test_entries_are_found_by_class_and_key():
    index = ByClass()
    a, b, host = entry("a"), entry("b"), entry("a", HOST)
    for each in (a, b, host):
        index.put(each)

    assert [a, b] == list(index.entries(VM))
    assert host == index.get(HOST, Key("a"))
    assert index.get(HOST, Key("b")) is None
    assert index.count(VM) == 2
    assert {VM, HOST} == set(index.classes())


def test_an_entry_replaces_the_one_with_its_key():
    index = ByClass()
    index.put(entry("a", raw=b'{"x":1}'))
    index.put(entry("a", raw=b'{"x":2}'))

    assert [e.raw for e in index.entries(VM)] == [b'{"x":2}']


def test_a_removed_entry_is_gone():
    index = ByClass()
    index.put(entry("a"))
    index.remove(entry("a"))

    assert list(index.entries(VM)) == []
    assert index.count(VM) == 0


def test_an_unknown_class_has_no_entries():
    index = ByClass()

    assert list(index.entries(VM)) == []
    assert index.get(VM, Key("a")) is None
    assert index.count(VM) == 0


def test_referrers_follow_the_records():
    references = References()
    disk, nic = entry("vbd", raw=b'["OpaqueRef:vm"]'), entry("vif", raw=b'["OpaqueRef:vm"]')
    references.add(disk)
    references.add(nic)
    references.add(nic)
    assert {disk.ref, nic.ref} == set(references.referrers(Ref("OpaqueRef:vm")))

    references.remove(disk)
    assert {nic.ref} == set(references.referrers(Ref("OpaqueRef:vm")))

    references.remove(nic)
    references.remove(nic)
    assert set() == set(references.referrers(Ref("OpaqueRef:vm")))
