"""Who somebody is, and what he may.

    username, password -- Accounts.login_password --+
    xop_<id>_<secret> --- Accounts.login_token -----+-- Identity -- ws, rest
    a cookie ------------ Accounts.login_session ---+      |
                                                       Directory.rights -- Rights -- Visibility
    Administration -- changes what the Directory holds: accounts, groups, roles, grants

There is no half-authenticated object: a login yields an `Identity` or raises `Unauthorized`. What
must last is kept behind the Protocols DirectoryStore and TokenStore, which storage/ fits.
"""

from xoproxy.auth.accounts import Accounts, AccountStore
from xoproxy.auth.administration import Administration, DirectoryStore, Told
from xoproxy.auth.browser_sessions import (
    BrowserSession,
    BrowserSessions,
    Lifetime,
    SessionOver,
    SessionStore,
)
from xoproxy.auth.cookies import cookie_name, session_cookie
from xoproxy.auth.directory import Account, Contents, Directory, Group, KeptGrant
from xoproxy.auth.grants import Grant, Kind, Reach, Rights, Scope, Sight, by_filter
from xoproxy.auth.identity import ADMINISTRATOR, Identity
from xoproxy.auth.origins import is_foreign_page, is_forgeable
from xoproxy.auth.own_objects import Follower
from xoproxy.auth.passwords import Passwords
from xoproxy.auth.peers import Peer, Peers
from xoproxy.auth.permissions import BUILT_IN, PERMISSIONS, SECRETS, VIEW, Role
from xoproxy.auth.throttle import Note, Throttle, Throttled
from xoproxy.auth.tokens import ApiToken, Tokens, TokenStore

__all__ = [
    "ADMINISTRATOR",
    "BUILT_IN",
    "PERMISSIONS",
    "SECRETS",
    "VIEW",
    "Account",
    "AccountStore",
    "Accounts",
    "Administration",
    "ApiToken",
    "BrowserSession",
    "BrowserSessions",
    "Contents",
    "Directory",
    "DirectoryStore",
    "Follower",
    "Grant",
    "Group",
    "Identity",
    "KeptGrant",
    "Kind",
    "Lifetime",
    "Note",
    "Passwords",
    "Peer",
    "Peers",
    "Reach",
    "Rights",
    "Role",
    "Scope",
    "SessionOver",
    "SessionStore",
    "Sight",
    "Throttle",
    "Throttled",
    "TokenStore",
    "Tokens",
    "Told",
    "by_filter",
    "cookie_name",
    "is_foreign_page",
    "is_forgeable",
    "session_cookie",
]
