"""What is noted of grants and of calls; sign-ins are in tests/integration/test_audit.py."""

import asyncio
from datetime import UTC, datetime

import pytest

from xoproxy.app.audited import AuditedCalls, AuditedGrants
from xoproxy.app.identities import Principal
from xoproxy.auth import Directory, Identity, KeptGrant, Kind, Scope
from xoproxy.errors import ErrorCode, PoolUnreachable, RequestRefused, XapiFailure
from xoproxy.model import PoolId

LAB = PoolId("lab")
BOB = Principal(Identity("a1", "bob", "", "token:t1"), Directory(), "192.0.2.7")
SCOPE = Scope(Kind.OBJECT, LAB, "u1")


class Log:
    def __init__(self):
        self.actions = []

    def note(self, action):
        self.actions.append(action)


class Grants:
    async def add_grant(self, role, scope, *, account_id):
        return KeptGrant("g1", account_id, "", role, scope, False, datetime.now(UTC))

    async def remove_grant(self, grant_id):
        if grant_id != "g1":
            raise RequestRefused(ErrorCode.NOT_FOUND, "there is none")


async def test_grants_that_nobody_asked_for_are_noted_when_they_are_there():
    log = Log()
    grants = AuditedGrants(Grants(), log)

    await grants.add_grant("user", SCOPE, account_id="a1")
    await grants.remove_grant("g1")
    with pytest.raises(RequestRefused):
        await grants.remove_grant("g2")

    assert [(a.operation, a.about, a.user) for a in log.actions] == [
        ("addGrant", "/grants/g1", ""),
        ("removeGrant", "/grants/g1", ""),
    ]
    assert log.actions[0].details == {
        "role": "user",
        "scope": "object lab/u1",
        "account": "a1",
    }


class Ends:
    """A caller whose calls all end in one way."""

    def __init__(self, how):
        self._how = how

    async def call(self, principal, pool, method, params):
        del principal, pool, method, params
        raise self._how


@pytest.mark.parametrize(
    ("how", "result"),
    [
        (RequestRefused(ErrorCode.FORBIDDEN, "no"), "FORBIDDEN"),
        (XapiFailure("VM_BAD_POWER_STATE", ("hunter2",)), "XAPI_FAILURE"),
        (PoolUnreachable("hunter2"), "POOL_UNAVAILABLE"),
        (asyncio.CancelledError(), "cancelled"),
        (ValueError("hunter2"), "INTERNAL"),
    ],
)
async def test_a_call_is_noted_however_it_ends(how, result):
    log = Log()

    with pytest.raises(type(how)):
        await AuditedCalls(Ends(how), {}, log).call(BOB, LAB, "VM.start", {"vm": "hunter2"})

    (action,) = log.actions
    assert (action.operation, action.result) == ("VM.start", result)
    assert (action.user, action.peer, action.credential) == ("bob", "192.0.2.7", "token:t1")
    assert (action.pool, action.about, action.parameters) == ("", "", ("vm",))
    assert "hunter2" not in str(action)
