"""Tokens for those who are up to date, by which they go on where they stand."""

from collections.abc import Iterator

from xoproxy.sessions.group import Group
from xoproxy.sessions.member import Member
from xoproxy.sessions.window_group import WindowGroup


def bookmark_all(group: Group, slice_clients: int) -> Iterator[None]:
    """Send all members of a group that can take it a token that reaches to now, in slices."""
    members = [
        *group.lanes.members_at(group.position),
        *(member for member in group.paced if member.lane is None),
    ]
    for start in range(0, len(members), slice_clients):
        for member in members[start : start + slice_clients]:
            member.client.flush()  # which may fill its socket
            if not member.client.paused:
                bookmark(member)
        yield


def bookmark(member: Member) -> None:
    """Send a member its token, if it stands somewhere."""
    group = member.group
    if isinstance(group, WindowGroup):
        return  # nobody can come back to a window
    if member.is_current:
        member.client.write(group.bookmark())
    elif member.waits_at is not None and member.reset is None:
        member.client.write(group.bookmark_at(member.cursor))
