"""Write the facts that calls need of XAPI's methods from the full description of its data model.

    python tools/make_methods.py ../shared/xapi/datamodel.json xoproxy/pool/methods.json

Kept are, per class, the methods with the names of their parameters in XAPI's order, the session
left out and optional ones marked by `?`; and which methods are worth running as a task: those that
XAPI offers as `Async.` and whose result survives it (a task's result is text: numbers lose their
type on the way, so the few that return some, all of them quick, run directly).
"""

import argparse
import json
from pathlib import Path
from typing import Any

OPTIONAL_LENGTH = 3
TEXTUAL = ("void", "string", "(string -> string) map")


def parameters(message: dict[str, Any]) -> str:
    names = [
        p[0] + ("?" if len(p) >= OPTIONAL_LENGTH else "")
        for p in message["params"]
        if p[0] != "session_id"
    ]
    return " ".join(names)


def survives_task(result: str) -> bool:
    return (
        result in TEXTUAL
        or result.startswith("enum ")
        or result.removesuffix(" set").endswith(" ref")
    )


def render(full: dict[str, Any]) -> str:
    """Return the facts as JSON text with one class a line."""
    classes = sorted(full["classes"].items())
    methods = [
        (name, {m: parameters(message) for m, message in sorted(cls["messages"].items())})
        for name, cls in classes
    ]
    tasks = [
        (
            name,
            " ".join(
                m
                for m, message in sorted(cls["messages"].items())
                if message.get("async") and survives_task(message["result"])
            ),
        )
        for name, cls in classes
    ]
    parts = [
        f'"source":{compact({"release": full["meta"]["latest_tag"]})}',
        '"methods":{\n' + ",\n".join(f"{compact(n)}:{compact(m)}" for n, m in methods) + "\n}",
        '"tasks":{\n' + ",\n".join(f"{compact(n)}:{compact(t)}" for n, t in tasks if t) + "\n}",
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the facts about XAPI's methods.")
    parser.add_argument("full", type=Path, help="the full description (JSON)")
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    text = render(json.loads(args.full.read_text()))
    json.loads(text)
    args.out.write_text(text)
    print(f"{args.out}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
