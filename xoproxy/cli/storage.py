"""`xoproxy storage`: what lasts, handled where it lies.

Unlike other commands these do not talk to a proxy. They read the settings that the proxy reads, and
need the same rights to its files.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from xoproxy.cli.output import print_json
from xoproxy.cli.remote import Json
from xoproxy.settings import Settings, load
from xoproxy.storage.backup import back_up
from xoproxy.storage.backup import restore as bring_back
from xoproxy.storage.history import sole_user
from xoproxy.storage.rotation import rotate_key
from xoproxy.telemetry import configure_logging

app = typer.Typer(
    no_args_is_help=True, help="The database, while no proxy is asked: backup, restore, rotate-key."
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Settings in TOML, as for serve; else from XOPROXY_STORAGE__*.",
        show_default=False,
    ),
]


@app.command()
def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="To write; not there yet.", show_default=False)
    ],
    with_key: Annotated[
        bool,
        typer.Option(
            "--with-key",
            help="Write the key into it, too: whoever has the file then has the pools' passwords.",
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Copy accounts, rights, tokens, pools and the audit log into one file; the proxy may run.

    The key file is not in it: keep a copy of that elsewhere. Without it, nothing can be restored.
    """
    settings = _settings(config)
    done = asyncio.run(
        back_up(settings.storage.database_url, settings.storage.key_path, file, with_key=with_key)
    )
    if as_json:
        print_json(
            {"file": str(file), "rows": done.rows, "key": done.key_id, "holds_key": with_key}
        )
        return
    print(f"Wrote {file}: {done.rows} rows.")
    if with_key:
        print("The key is in it: whoever has this file can read the pools' passwords.")
    else:
        print(
            f"The key {done.key_id} is not in it, and it cannot be restored without: keep a copy "
            f"of {settings.storage.key_path}, apart from this file."
        )


@app.command()
def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="That backup wrote.", show_default=False)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there: all of it is lost.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Bring a backup back, or move it to another database (storage.url); no proxy may run.

    Put the key file in its place first, unless it is in the backup. What was revoked after the
    backup is good again.
    """
    storage = _settings(config).storage
    with sole_user(storage.directory.expanduser()):
        done = asyncio.run(bring_back(storage.database_url, storage.key_path, file, force=force))
    if as_json:
        print_json(
            {"file": str(file), "rows": done.rows, "created_at": done.created_at.isoformat()}
        )
        return
    print(f"Restored {done.rows} rows of {done.created_at.astimezone():%Y-%m-%d %H:%M:%S}.")
    print("Tokens, sessions and rights that were revoked since then are good again: look at them.")


@app.command("rotate-key")
def rotate(config: Config = None, as_json: Json = False) -> None:
    """Encrypt every secret with a new key; no proxy may run.

    The old key is kept beside the new one, for backups from before. After a leak, change the pools'
    passwords, too: whoever has the old key and an old copy of the database knows them.
    """
    storage = _settings(config).storage
    with sole_user(storage.directory.expanduser()):
        done = asyncio.run(rotate_key(storage.database_url, storage.key_path))
    if as_json:
        print_json({"secrets": done.sealed, "old_key": str(done.old_key)})
        return
    print(f"Encrypted {done.sealed} secrets with a new key, {storage.key_path}.")
    print(f"The old one is {done.old_key}: delete it when no backup needs it any more.")


def _settings(config: Path | None) -> Settings:
    settings = load(config)
    configure_logging(settings.log.format, "warning")
    return settings
