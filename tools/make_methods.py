"""Write the facts that calls need of XAPI's methods from the full description of its data model.

    python -m tools.make_methods ../shared/xapi/datamodel.json xoproxy/pool/methods.json

Kept are, per class, the methods with the names of their parameters in XAPI's order, the session
left out and optional ones marked by `?`; and which methods are worth running as a task: those that
XAPI offers as `Async.` and whose result survives it (a task's result is text: numbers lose their
type on the way, so the few that return some, all of them quick, run directly).
"""

from typing import Any

from tools.data_file import compact, write

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


if __name__ == "__main__":
    write("Write the facts about XAPI's methods.", render)
