"""Write the simulator's data model from the full description of XAPI's.

    python -m tools.make_datamodel ../shared/xapi/datamodel.json xoproxy/simulator/datamodel.json

Kept are names, types, defaults, qualifiers, enums, relations and releases; one class, enum or
relation a line, so that a newer model shows as a readable difference.
"""

import re
from collections.abc import Iterable
from typing import Any

from tools.data_file import compact, write

FLAGS = ("gen_events", "in_db", "persist", "ctor")

# Roles are made from the model, and are no rows: a pool counts none and sends no events of them.
OVERRIDES = {"role": {"in_db": False, "gen_events": False}}

# Releases of optional parameters that are younger than their message, where XAPI's idl was seen to
# say so (param_release). The description has no dates of parameters.
PARAMS_SINCE = {
    "session.login_with_password": {"version": "miami", "originator": "clearwater"},
    "blob.create": {"public": "tampa"},
    "pool.create_new_blob": {"public": "tampa"},
    "VM.create_new_blob": {"public": "tampa"},
    "host.create_new_blob": {"public": "tampa"},
    "network.create_new_blob": {"public": "tampa"},
    "SR.create_new_blob": {"public": "tampa"},
    "SR.create": {"sm_config": "miami"},
    "SR.introduce": {"sm_config": "miami"},
    "SR.make": {"sm_config": "miami"},
    "Bond.create": {"mode": "boston", "properties": "tampa"},
    "host.apply_edition": {"force": "clearwater"},
    "VM.migrate_send": {"vgpu_map": "inverness"},
    "VM.assert_can_migrate": {"vgpu_map": "inverness"},
    "PIF.db_introduce": {
        "ipv6_configuration_mode": "boston",
        "IPv6": "boston",
        "ipv6_gateway": "boston",
        "primary_address_type": "boston",
        "managed": "vgpu-productisation",
        "properties": "creedence",
    },
}


# A database of 6.1 has no such fields; they came with the clusters that they guard (inferred).
FIELDS_SINCE = {
    ("pool", "allowed_operations"): "kolkata",
    ("pool", "current_operations"): "kolkata",
}

# Dated anew when it was published again; a database of 6.1 has it.
CLASSES_SINCE = {"VTPM": "rio"}

_CLASS = re.compile(r"(\w+) (?:ref|record)\b")


class Dates:
    """When things came, corrected: nothing is older than the classes that it speaks of.

    The description says "rio", its first release, of much that it does not date.
    """

    def __init__(self, full: dict[str, Any]) -> None:
        self._places = {name: place for place, name in enumerate(full["meta"]["release_order"])}
        self.classes = {n: CLASSES_SINCE.get(n, c["since"]) for n, c in full["classes"].items()}
        self._fields = {
            (cls, name): self.newest(FIELDS_SINCE.get((cls, name), f["since"]), [f["type"]])
            for cls, c in full["classes"].items()
            for name, f in c["fields"].items()
        }

    def newest(self, since: str, types: Iterable[str]) -> str:
        named = (cls for text in types for cls in _CLASS.findall(text))
        dates = [since, *(self.classes[cls] for cls in named if cls in self.classes)]
        return max(dates, key=lambda date: self._places.get(date, 0))

    def field(self, cls: str, name: str) -> str:
        return self._fields[cls, name]

    def message(self, cls: str, name: str, full: dict[str, Any]) -> str:
        """Date a message by its types, and a getter or setter by its field."""
        of_field = [
            self._fields[cls, field]
            for prefix in ("get_", "set_", "add_to_", "remove_from_", "add_", "remove_")
            if full.get("implicit") and (cls, field := name.removeprefix(prefix)) in self._fields
        ]
        mandatory = [param[1] for param in full["params"] if len(param) == 2]  # noqa: PLR2004
        since = self.newest(full["since"], [full["result"], *mandatory])
        return max([since, *of_field], key=lambda date: self._places.get(date, 0))


def field_of(full: dict[str, Any], since: str) -> dict[str, Any]:
    field = {"type": full["type"], "q": full["q"], "since": since}
    if "default" in full:
        field["default"] = full["default"]
    return field


def message_of(full: dict[str, Any], since: str, params_since: dict[str, str]) -> dict[str, Any]:
    """Shorten a message: the session parameter becomes the absence of `no_session`."""
    params = full["params"]
    has_session = bool(params) and params[0][0] == "session_id"
    rest = params[1:] if has_session else params
    message: dict[str, Any] = {
        "result": full["result"],
        "params": [[p[0], p[1], p[3]] if len(p) > 2 else p for p in rest],  # noqa: PLR2004
        "since": since,
    }
    if not has_session:
        message["no_session"] = True
    for flag in ("async", "implicit"):
        if full.get(flag):
            message[flag] = True
    if "removed" in full:
        message["removed"] = full["removed"]
    if params_since:
        message["params_since"] = params_since
    message["roles"] = full["roles"]
    return message


def class_of(name: str, full: dict[str, Any], dates: Dates) -> dict[str, Any]:
    messages = {
        message: message_of(
            m, dates.message(name, message, m), PARAMS_SINCE.get(f"{name}.{message}", {})
        )
        for message, m in sorted(full["messages"].items())
    }
    return {
        "since": dates.classes[name],
        **{flag: full[flag] for flag in FLAGS},
        **OVERRIDES.get(name, {}),
        "fields": {
            field: field_of(f, dates.field(name, field))
            for field, f in sorted(full["fields"].items())
        },
        "messages": messages,
    }


def block(name: str, lines: Iterable[str], brackets: str) -> str:
    return f"{compact(name)}:{brackets[0]}\n" + ",\n".join(lines) + f"\n{brackets[1]}"


def render(full: dict[str, Any]) -> str:
    """Return the compact model as JSON text with one item a line."""
    meta = full["meta"]
    dates = Dates(full)
    codes = sorted({*full["errors"], *full["errors_undocumented"]})
    parts = [
        f'"source":{compact({"commit": meta["xen_api_commit"], "release": meta["latest_tag"]})}',
        f'"releases":{compact(meta["release_order"])}',
        block("enums", (f"{compact(k)}:{compact(v)}" for k, v in full["enums"].items()), "{}"),
        block("relations", map(compact, full["relations"]), "[]"),
        f'"errors":{compact(codes)}',
        f'"role_sets":{compact(full["role_sets"])}',
        block(
            "classes",
            (f"{compact(k)}:{compact(class_of(k, v, dates))}" for k, v in full["classes"].items()),
            "{}",
        ),
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    write("Write the simulator's compact data model.", render)
