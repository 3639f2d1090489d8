"""Sockets on which a dead peer shows within half a minute, even if nobody writes."""

import socket


def keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # Linux and most others; Windows lacks some
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
