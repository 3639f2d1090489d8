"""Write the facts about XAPI's classes that the proxy itself needs.

    python -m tools.make_schema ../shared/xapi/datamodel.json xoproxy/cache/schema.json

Kept are the classes that have events, their fields' types, and the enums that these use; one class
or enum a line, so that a newer model shows as a readable difference.
"""

import re
from collections.abc import Iterable
from typing import Any

from tools.data_file import compact, write

ENUM = re.compile(r"enum (\w+)")


def block(name: str, items: Iterable[tuple[str, object]]) -> str:
    lines = (f"{compact(key)}:{compact(value)}" for key, value in items)
    return f"{compact(name)}:{{\n" + ",\n".join(lines) + "\n}"


def fields_of(full: dict[str, Any]) -> dict[str, str]:
    return {name: field["type"] for name, field in sorted(full["fields"].items())}


def render(full: dict[str, Any]) -> str:
    """Return the schema as JSON text with one class or enum a line."""
    meta = full["meta"]
    classes = {name: fields_of(c) for name, c in full["classes"].items() if c["gen_events"]}
    used = {e for types in classes.values() for t in types.values() for e in ENUM.findall(t)}
    parts = [
        f'"source":{compact({"commit": meta["xen_api_commit"], "release": meta["latest_tag"]})}',
        block("enums", ((name, full["enums"][name]) for name in sorted(used))),
        block("classes", sorted(classes.items())),
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    write("Write the proxy's schema of XAPI's classes.", render)
