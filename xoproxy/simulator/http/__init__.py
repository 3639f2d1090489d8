"""A small HTTP/1.1 server with XAPI's manners, which common servers lack.

Headers of at most 1,024 bytes (431), bodies of at most 307,200 by what Content-Length says (500,
before any of it is read), no chunked requests, HTML pages for errors, which close. One request
at a time on a connection; at most 800 connections are served, the others wait unanswered.

    wire.py      what is read and written: heads, pages, replies
    connection.py  one client's TCP connection
    server.py    what is served: calls (POST), handlers by method and path, /_sim/
"""

from xoproxy.simulator.http.connection import ClosedError, Connection
from xoproxy.simulator.http.server import (
    Handler,
    HttpServer,
    Interference,
    NoInterference,
)
from xoproxy.simulator.http.wire import Head, PageError, Reply

__all__ = [
    "ClosedError",
    "Connection",
    "Handler",
    "Head",
    "HttpServer",
    "Interference",
    "NoInterference",
    "PageError",
    "Reply",
]
