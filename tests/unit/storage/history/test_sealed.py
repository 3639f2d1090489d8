"""What is sealed comes back as it was, or not at all."""

import pytest

from xoproxy.storage.history.sealed import Damaged, Sealer, unsealed

KEY = b"k" * 32
RECORDS = [b"first", b"", b"third " * 50]


def written(records=RECORDS, key=KEY, context="log/p"):
    sealer = Sealer(key, context)
    return sealer.header + b"".join(map(sealer.seal, records))


def read(content, key=KEY, context="log/p"):
    return list(unsealed(content, key, context))


def test_records_come_back_in_order():
    assert read(written()) == RECORDS


def test_nothing_of_them_can_be_seen():
    assert b"third" not in written()


def test_two_files_with_the_same_records_have_nothing_in_common():
    one, other = written(), written()
    assert one[:10] == other[:10]  # magic and version
    assert one[10:26] != other[10:26]
    assert one[34:] != other[34:]


def test_wherever_it_is_cut_short_whole_records_come_back():
    content = written()
    ends = [len(written(RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    for cut in range(len(content) + 1):
        whole = sum(end <= cut for end in ends[1:])
        assert read(content[:cut]) == RECORDS[:whole], cut


def test_no_flipped_bit_goes_unnoticed():
    content = written()
    for at in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            with pytest.raises(Damaged):
                read(bytes(flipped))


@pytest.mark.parametrize(
    ("key", "context"), [(b"x" * 32, "log/p"), (KEY, "log/q"), (KEY, "checkpoint/p")]
)
def test_it_opens_with_its_own_key_and_purpose_only(key, context):
    with pytest.raises(Damaged, match="does not open"):
        read(written(), key, context)


def test_records_of_another_place_do_not_pass():
    sealer = Sealer(KEY, "log/p")
    one, two = sealer.seal(b"one"), sealer.seal(b"two")
    with pytest.raises(Damaged, match="record 0 does not open"):
        read(sealer.header + two + one)
    with pytest.raises(Damaged, match="record 1 does not open"):
        read(sealer.header + one + one)


def test_another_version_is_named():
    content = bytearray(written())
    content[8:10] = (2).to_bytes(2)
    with pytest.raises(Damaged, match="version 2, not 1"):
        read(bytes(content))


def test_another_kind_of_file_is_no_history():
    with pytest.raises(Damaged, match="not a history file"):
        read(b"SQLite format 3\0" * 4)
