"""Another key: afterwards it alone opens everything, and a rotation cut short loses nothing."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary

from tests.unit.storage.places import refusal
from xoproxy.errors import ConfigError
from xoproxy.storage import keyring, rotation
from xoproxy.storage.rotation import SEALED, rotate_key
from xoproxy.storage.schema import metadata


async def _filled(place):
    async with place.open() as storage:
        await storage.pools.add("one", "https://one", "root", "first")
        await storage.pools.add("two", "https://two", "root", "second")
        return storage.signing_key


async def _check(place, signing_key):
    async with place.open() as storage:
        assert storage.signing_key == signing_key
        assert [pool.password for pool in await storage.pools.list()] == ["first", "second"]


async def test_a_new_key_opens_everything_and_the_old_one_nothing(place):
    signing_key = await _filled(place)
    old = place.key.read_bytes()
    sealed = place.query("select password from pools order by id")

    rotated = await rotate_key(place.url, place.key)

    assert rotated.sealed == 3
    assert place.key.read_bytes() != old
    assert stat.S_IMODE(place.key.stat().st_mode) == 0o600
    assert rotated.old_key.read_bytes() == old
    assert not keyring.pending_key(place.key).exists()
    assert set(sealed).isdisjoint(place.query("select password from pools order by id"))
    await _check(place, signing_key)

    place.key.write_bytes(old)
    assert "made with another key" in await refusal(place.open())


async def test_keys_can_be_changed_again_and_again(place):
    signing_key = await _filled(place)
    kept = {(await rotate_key(place.url, place.key)).old_key for _ in range(3)}
    assert len({path.read_bytes() for path in kept} | {place.key.read_bytes()}) == 4
    await _check(place, signing_key)


async def test_cut_short_before_the_database_has_the_new_key_the_old_one_is_good(
    place, monkeypatch
):
    signing_key = await _filled(place)
    old = place.key.read_bytes()
    monkeypatch.setattr(rotation, "_seal_anew", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await rotate_key(place.url, place.key)
    assert keyring.pending_key(place.key).exists()
    await _check(place, signing_key)
    assert place.key.read_bytes() == old
    monkeypatch.undo()
    await rotate_key(place.url, place.key)  # what was left behind is in nobody's way
    await _check(place, signing_key)


async def test_cut_short_after_the_database_has_the_new_key_the_next_start_ends_it(
    place, monkeypatch
):
    signing_key = await _filled(place)
    monkeypatch.setattr(rotation, "replace_key", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await rotate_key(place.url, place.key)
    pending = keyring.pending_key(place.key)
    new = pending.read_bytes()
    await _check(place, signing_key)
    assert place.key.read_bytes() == new
    assert not pending.exists()


async def test_what_cannot_be_decrypted_stops_it_before_anything_changes(place):
    await _filled(place)
    before = place.key.read_bytes()
    place.query("update pools set password = '\\x01' where name = 'two'")
    with pytest.raises(ConfigError, match=r"pool/\w+/password cannot be decrypted"):
        await rotate_key(place.url, place.key)
    assert place.key.read_bytes() == before
    async with place.open():
        pass


def test_each_column_of_bytes_is_sealed_or_known_not_to_be():
    """A new one that the keyring seals must be listed, or the first rotation would lose it."""
    not_sealed = {"secret_digest", "digest", "hash", "seal"}
    found = {
        column
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary) and column.name not in not_sealed
    }
    assert found == set(SEALED)


def test_a_key_that_replaces_none_keeps_none(tmp_path: Path):
    pending, path = tmp_path / "key.new", tmp_path / "key"
    keyring.create_key(pending)
    keyring.replace_key(pending, path)
    assert [found.name for found in tmp_path.iterdir()] == ["key"]
