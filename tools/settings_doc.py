"""Write docs/settings.md from the settings themselves: `python -m tools.settings_doc`."""

import types
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from xoproxy.settings import GROUPS, SECRETS, Settings, env_name

TARGET = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """# Settings

<!-- Written by `python -m tools.settings_doc` from xoproxy/settings.py; change it there. -->

`xoproxy serve` reads its settings once, at start. Every setting has a default; a
fresh install needs none.

- **File**: `xoproxy serve --config xoproxy.toml`, one table per group below.
- **Environment**: `XOPROXY_<GROUP>__<NAME>`, with two underscores between group and name,
  wins over the file.
- **Secrets** can come from files: {secrets}. The file holds the secret on one line.
- An unknown name or a bad value stops the start with one line that names it.

```toml
[server]
host = "0.0.0.0"
port = 8086

[log]
format = "json"
```
"""
COMMANDS = """
## Variables of the commands

These are no settings of the server; they save typing for the commands that talk to a running proxy.

| Variable | Meaning |
|---|---|
| `XOPROXY_URL` | Address of the proxy, by default `http://127.0.0.1:8086`. |
| `XOPROXY_TOKEN`, `XOPROXY_TOKEN_FILE` | API token to sign in with. |
| `XOPROXY_PASSWORD` | Password of the account given by `--as`. |
| `XOPROXY_POOL_PASSWORD` | Password of the pool's user for `xoproxy pool add`. |
"""


def reference() -> str:
    """Return the whole text of docs/settings.md."""
    secrets = ", ".join(f"`{env_name(secret)}_FILE`" for secret in SECRETS)
    parts = [HEAD.format(secrets=secrets)]
    own = {name: field for name, field in Settings.model_fields.items() if name not in GROUPS}
    parts.append(f"\n## Outside of groups\n\n{_table('', own)}")
    for group, model in GROUPS.items():
        parts.append(f"\n## [{group}]\n\n{model.__doc__}\n\n{_table(group, model.model_fields)}")
    return "".join(parts) + COMMANDS


def _table(group: str, fields: dict[str, FieldInfo]) -> str:
    lines = ["| Setting | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        variable = env_name(f"{group}.{name}" if group else name)
        meaning = " ".join((field.description or "").split())
        lines.append(
            f"| `{name}`<br>`{variable}` | {_kind(field.annotation)} | {_default(field.default)} "
            f"| {meaning} |"
        )
    return "\n".join(lines) + "\n"


def _kind(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in {Annotated, Union, types.UnionType}:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return "list of texts"
    names = {
        bool: "`true`, `false`",
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
    }
    assert isinstance(annotation, type)  # noqa: S101 - a new kind of setting: extend the names
    assert not issubclass(annotation, BaseModel)  # noqa: S101 - groups do not nest
    return names[annotation]


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        value = str(value).lower()  # as in TOML
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
