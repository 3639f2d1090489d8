"""`xoproxy serve`: runs the proxy."""

from pathlib import Path
from typing import Annotated

import typer

from xoproxy import app
from xoproxy.auth.accounts import FIRST_ACCOUNT
from xoproxy.settings import Settings, load
from xoproxy.telemetry import configure_logging


def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Settings in TOML.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the proxy in the foreground until SIGINT or SIGTERM.

    Settings also come from the environment, XOPROXY_<GROUP>__<NAME>; see docs/settings.md.

    The first start creates the user admin with the password from XOPROXY_ADMIN_PASSWORD, or with a
    random one that is printed this once.
    """
    settings = load(config)
    configure_logging(settings.log.format, settings.log.level)
    with app.new_runner() as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with app.running(settings) as proxy:
        if proxy.new_password is not None:
            print(
                f"First start: user {FIRST_ACCOUNT}, password {proxy.new_password} "
                "(shown this once)",
                flush=True,
            )
        print(f"xoproxy listens at {proxy.url}", flush=True)
        await app.until_signalled()
