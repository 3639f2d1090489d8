"""Who somebody is: accounts, passwords, API tokens, and how often one may guess.

    username, password -- Accounts.login_password --+
                                                    +-- Identity -- ws, rest
    xop_<id>_<secret> --- Accounts.login_token -----+

There is no half-authenticated object: a login yields an `Identity` or raises `Unauthorized`. What
must last is kept behind the Protocols AccountStore and TokenStore, which storage/ fits.
"""

from xoproxy.auth.accounts import Account, Accounts, AccountStore
from xoproxy.auth.identity import ADMINISTRATOR, Identity
from xoproxy.auth.origins import is_foreign_page
from xoproxy.auth.passwords import Passwords
from xoproxy.auth.throttle import Throttle, Throttled
from xoproxy.auth.tokens import ApiToken, Tokens, TokenStore

__all__ = [
    "ADMINISTRATOR",
    "Account",
    "AccountStore",
    "Accounts",
    "ApiToken",
    "Identity",
    "Passwords",
    "Throttle",
    "Throttled",
    "TokenStore",
    "Tokens",
    "is_foreign_page",
]
