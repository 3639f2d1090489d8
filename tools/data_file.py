"""What the makers of data files share: how they write, and how they are called."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def write(what: str, render: Callable[[dict[str, Any]], str]) -> None:
    """Run a command that renders the full description of XAPI into a data file."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("full", type=Path, help="the full description (JSON)")
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    text = render(json.loads(args.full.read_text()))
    json.loads(text)
    args.out.write_text(text)
    print(f"{args.out}: {len(text):,} bytes")
