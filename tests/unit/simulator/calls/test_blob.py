"""Blobs: rows of their own, and names on objects."""

import pytest

from tests.unit.simulator.worlds import HOST, POOL, VM, client


@pytest.mark.parametrize(("cls", "ref"), [("VM", VM), ("host", HOST), ("pool", POOL)])
async def test_a_blob_of_an_object(cls: str, ref: str):
    async with client() as user:
        blob = await user.call(f"{cls}.create_new_blob", ref, "notes", "")
        assert user.db.get(cls, ref, "blobs") == {"notes": blob}
        assert user.db.get("blob", blob, "mime_type") == "application/octet-stream"
        taken = ["MAP_DUPLICATE_KEY", cls, "blobs", ref, "notes"]
        assert await user.error(f"{cls}.create_new_blob", ref, "notes", "") == taken
        assert user.db.count("blob") == 1


async def test_a_blob_alone():
    async with client() as user:
        blob = await user.call("blob.create", "text/plain", True)
        assert user.db.get("blob", blob, "public")
        await user.call("blob.destroy", blob)
        assert await user.error("blob.destroy", blob) == ["HANDLE_INVALID", "blob", blob]
