"""Write what XML-RPC does not tell about XAPI's values: where texts are integers, or dates.

    python -m tools.make_xml_types ../shared/xapi/datamodel.json xoproxy/pool/xml_types.json

Over XML-RPC an integer is a text like any other, and a date that is sent must be marked as one; all
else says what it is. Kept are the fields with integers of every class, the methods (other than
getters, which follow from the fields) that return some, and the positions of parameters that are
dates, the session left out.
"""

import re
from typing import Any

from tools.data_file import compact, write

WORD = re.compile(r"\w+")


def hides_integers(kind: str) -> bool:
    return not {"int", "record"}.isdisjoint(WORD.findall(kind))


def fields(cls: dict[str, Any]) -> dict[str, str]:
    types = {name: field["type"] for name, field in sorted(cls["fields"].items())}
    return {name: kind for name, kind in types.items() if hides_integers(kind)}


def results(cls: dict[str, Any]) -> dict[str, str]:
    return {
        name: message["result"]
        for name, message in sorted(cls["messages"].items())
        if hides_integers(message["result"]) and not message.get("implicit")
    }


def dates(cls: dict[str, Any]) -> dict[str, int]:
    """Return the position of the (only) date among the parameters of those methods with one."""
    found = {}
    for name, message in sorted(cls["messages"].items()):
        kinds = [p[1] for p in message["params"] if p[0] != "session_id"]
        if "datetime" in kinds:
            found[name] = kinds.index("datetime")
    return found


def block(name: str, full: dict[str, Any], facts_of: Any) -> str:  # noqa: ANN401
    facts = ((cls, facts_of(described)) for cls, described in sorted(full["classes"].items()))
    lines = (f"{compact(cls)}:{compact(found)}" for cls, found in facts if found)
    return f"{compact(name)}:{{\n" + ",\n".join(lines) + "\n}"


def render(full: dict[str, Any]) -> str:
    """Return the facts as JSON text with one class a line."""
    parts = [
        f'"source":{compact({"release": full["meta"]["latest_tag"]})}',
        block("fields", full, fields),
        block("results", full, results),
        block("dates", full, dates),
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    write("Write where XML-RPC hides integers and dates.", render)
