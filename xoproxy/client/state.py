"""What a client holds, for JSON: so that a program that starts again goes on where it stood."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from xoproxy.client.document import Document
from xoproxy.client.messages import ViewInfo
from xoproxy.client.subscription import Subscription

_STATE_VERSION = 1
Held = tuple[ViewInfo, Document, str]
"""A view, its document, and the token to resume it by."""


def state_of(subscriptions: Iterable[Subscription]) -> dict[str, Any]:
    """Return all documents that can be resumed."""
    return {
        "version": _STATE_VERSION,
        "subscriptions": [
            {"query": subscription.query, "views": list(_views(subscription))}
            for subscription in subscriptions
        ],
    }


def _views(subscription: Subscription) -> Iterable[dict[str, Any]]:
    for slot in subscription.slots.values():
        point = slot.replica.resume_point
        if point is not None and slot.pool is not None:
            document = slot.replica.document.as_json()
            yield {"pool": slot.pool, "epoch": slot.replica.epoch, "document": document, **point}


def query_key(query: Mapping[str, Any]) -> str:
    """Return what equal queries have in common."""
    return json.dumps(query, sort_keys=True)


def remembered(state: Mapping[str, Any] | None) -> dict[str, list[Held]]:
    """Read a state; one of another version is worth nothing, and not wrong.

    Raises:
        ValueError: it is no state.
    """
    found: dict[str, list[Held]] = {}
    if state is None or state.get("version") != _STATE_VERSION:
        return found
    try:
        for subscription in state["subscriptions"]:
            views = found.setdefault(query_key(subscription["query"]), [])
            views += map(_held, subscription["views"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("this is no state of a client: pass what Client.state() gave") from error
    return found


def _held(view: Mapping[str, Any]) -> Held:
    document = Document(view["document"])
    document.classes.update(view["document"])
    info = ViewInfo(
        view=0,
        seq=view["seq"],
        classes=list(document.classes),
        mode="resume",
        pool=view["pool"],
        epoch=view["epoch"],
    )
    return info, document, view["token"]
