"""Write the facts about XAPI's classes that the proxy itself needs.

    python tools/make_schema.py ../shared/xapi/datamodel.json xoproxy/cache/schema.json

Kept are the classes that have events, their fields' types, and the enums that these use; one class
or enum a line, so that a newer model shows as a readable difference.
"""

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ENUM = re.compile(r"enum (\w+)")


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the proxy's schema of XAPI's classes.")
    parser.add_argument("full", type=Path, help="the full description (JSON)")
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    text = render(json.loads(args.full.read_text()))
    json.loads(text)
    args.out.write_text(text)
    print(f"{args.out}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
