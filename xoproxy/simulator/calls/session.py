"""Class `session`."""

from xoproxy.simulator.calls.registry import Call, operation


@operation("session.login_with_password")
async def login_with_password(
    call: Call, user: str, password: str, _version: str, originator: str
) -> str:
    return await call.world.sessions.login(user, password, originator)


@operation("session.slave_local_login_with_password")
async def slave_local_login_with_password(call: Call, user: str, password: str) -> str:
    return await call.world.sessions.login_locally(user, password)


@operation("session.logout")
def logout(call: Call) -> None:
    call.world.sessions.logout(call.session)


@operation("session.local_logout")
def local_logout(call: Call) -> None:
    call.world.sessions.logout(call.session)


@operation("session.change_password")
def change_password(call: Call, old: str, new: str) -> None:
    call.world.sessions.change_password(old, new)


@operation("session.get_all_subject_identifiers")
def get_all_subject_identifiers(_call: Call) -> list[str]:
    return []  # nobody but the local superuser logs in here


@operation("session.logout_subject_identifier")
def logout_subject_identifier(_call: Call, _subject_identifier: str) -> None:
    """Do nothing: no session belongs to an external user."""
