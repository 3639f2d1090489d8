"""The page at `/`: one HTML file and what serves it.

It is a client like any other: it uses `/ws` (docs/protocol.md) and nothing private.
"""

from xoproxy.rest.page.serving import routes

__all__ = ["routes"]
