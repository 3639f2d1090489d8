"""A client of xoproxy for Python programs: live views of many pools, kept exact.

    async with connect("https://proxy.example", token="xop_...") as client:
        view = await client.subscribe(["VM"], filter="power_state:Running")
        async for change in view.changes():
            print(change.kind, change.object["name_label"])

    messages in -- protocol (core, no I/O) -- events -- client -- views
                   replica, document                    follower, connection

Documented in docs/client-python.md; what travels, in docs/protocol.md. Stands alone: nothing of the
proxy itself is imported.
"""

from xoproxy.client.changes import Changes
from xoproxy.client.client import Client
from xoproxy.client.connecting import connect
from xoproxy.client.errors import (
    BadQuery,
    Conflict,
    Disconnected,
    Error,
    Forbidden,
    NotFound,
    NotSignedIn,
    ProtocolFault,
    Refused,
    Unreachable,
    XapiFailure,
)
from xoproxy.client.objects import Change, Object
from xoproxy.client.view import PoolView, View
from xoproxy.client.window import Window

__all__ = [
    "BadQuery",
    "Change",
    "Changes",
    "Client",
    "Conflict",
    "Disconnected",
    "Error",
    "Forbidden",
    "NotFound",
    "NotSignedIn",
    "Object",
    "PoolView",
    "ProtocolFault",
    "Refused",
    "Unreachable",
    "View",
    "Window",
    "XapiFailure",
    "connect",
]
