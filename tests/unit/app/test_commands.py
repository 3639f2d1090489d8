"""Calls under rights that change while they wait, and while they run."""

import json
from dataclasses import dataclass

import pytest

from xoproxy.app.commands import Commands
from xoproxy.app.ownership import Ownership
from xoproxy.auth import BUILT_IN, Directory, Grant, Kind, Rights, Scope
from xoproxy.auth.grants import EVERYTHING
from xoproxy.cache.store import Store
from xoproxy.errors import RequestRefused, XapiFailure
from xoproxy.model import NULL_REF, PoolId, Ref, Upsert, XapiClass

POOL = PoolId("p")
MINE, OTHER = "OpaqueRef:mine", "OpaqueRef:other"
NOTHING = Rights([])
ADMINISTRATOR = Rights([Grant("", "", BUILT_IN["administrator"], EVERYTHING)])
OPERATOR = Rights([Grant("", "", BUILT_IN["operator"], Scope(Kind.OBJECT, POOL, "mine"))])


@dataclass
class Principal:
    """Somebody whose rights are others by and by."""

    rights: Rights
    account_id: str = "a"

    def visibility(self, pool):
        return self.rights.visibility(pool)


@dataclass
class Pool:
    """Stands where calls are run: has them wait, and gives an answer; rights change meanwhile."""

    principal: Principal
    answer: object = ""
    while_waiting: Rights | None = None
    while_running: Rights | None = None
    sent: int = 0

    async def call(self, pool, method, params, permitted):
        assert (pool, method, params) == (POOL, "VM.start", {"vm": MINE})
        self.principal.rights = self.while_waiting or self.principal.rights
        permitted()
        self.sent += 1
        self.principal.rights = self.while_running or self.principal.rights
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def store() -> Store:
    made = Store(POOL, "epoch")
    prepared = made.prepare(
        Upsert(XapiClass("VM"), Ref(f"OpaqueRef:{uuid}"), json.dumps({"uuid": uuid}).encode())
        for uuid in ("mine", "other")
    )
    while prepared.step():
        pass
    made.commit(prepared, 0.0)
    return made


async def call(pool, method="VM.start", name=POOL):
    pools = {POOL: store()}
    commands = Commands(pools, pool, Ownership(Directory(), pools))
    return await commands.call(pool.principal, PoolId(name), method, {"vm": MINE})


async def refusal(pool, **more):
    with pytest.raises(RequestRefused) as raised:
        await call(pool, **more)
    return raised.value.code, raised.value.message


async def test_what_may_not_be_called_is_not_even_waiting():
    pool = Pool(Principal(OPERATOR), while_waiting=ADMINISTRATOR)
    assert await refusal(pool, method="VM.create") == (
        "FORBIDDEN",
        "raw XAPI calls are for administrators",
    )
    assert pool.principal.rights is OPERATOR


async def test_a_pool_that_is_not_there_and_one_that_is_hidden_are_alike():
    hidden = await refusal(Pool(Principal(NOTHING)))
    missing = await refusal(Pool(Principal(OPERATOR)), name="q")
    assert hidden == ("NOT_FOUND", "there is no pool 'p'")
    assert missing == ("NOT_FOUND", "there is no pool 'q'")


@pytest.mark.parametrize(("before", "code"), [(OPERATOR, "NOT_FOUND"), (ADMINISTRATOR, "BUSY")])
async def test_what_may_not_be_called_any_more_is_not_sent(before, code):
    pool = Pool(Principal(before), while_waiting=NOTHING)
    assert (await refusal(pool))[0] == code
    assert pool.sent == 0


async def test_what_was_granted_meanwhile_is_sent():
    pool = Pool(Principal(OPERATOR), while_waiting=ADMINISTRATOR)
    assert await call(pool) == ""
    assert pool.sent == 1


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (ADMINISTRATOR, None, (MINE, OTHER)),
        (OPERATOR, None, (MINE, NULL_REF)),
        (OPERATOR, NOTHING, (NULL_REF, NULL_REF)),
        (ADMINISTRATOR, OPERATOR, (MINE, NULL_REF)),
        (OPERATOR, ADMINISTRATOR, (MINE, OTHER)),
    ],
)
async def test_answers_tell_what_may_be_known_by_then(before, after, told, failed):
    answer = XapiFailure("X", (MINE, OTHER)) if failed else f"{MINE} {OTHER}"
    pool = Pool(Principal(before), answer, while_running=after)
    if failed:
        with pytest.raises(XapiFailure) as raised:
            await call(pool)
        assert raised.value.params == told
    else:
        assert await call(pool) == " ".join(told)
