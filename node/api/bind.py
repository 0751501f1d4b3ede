"""Rule 1: the sockets of the local API. Loopback only, unless the owner asked for more and has TLS."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from marina.errors import MarinaError, UsageError
from node.settings import API_PORT, ApiSettings
from node.settings_load import is_loopback

LOOPBACK = ("127.0.0.1", "::1")
_BACKLOG = 128
_UNIX_PATH_BYTES_MAX = 107
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_TRIES = 8
log = logging.getLogger("marina.node.api")


class PortTakenError(MarinaError):
    """Another program listens on the port."""

    code = "port_taken"


@dataclass(frozen=True, slots=True)
class Bound:
    """Listening sockets.

    Attributes:
        sockets: TCP sockets, all on one port.
        unix: the Unix socket, or None.
        host: the address to open, ``127.0.0.1``.
        port: the port.
    """

    sockets: tuple[socket.socket, ...]
    unix: socket.socket | None
    host: str
    port: int


def bind_api(settings: ApiSettings, unix_path: Path | None) -> Bound:
    """Return the listening sockets of the settings.

    Args:
        settings: host, port and whether other machines may connect.
        unix_path: where the Unix socket goes, mode 0600; None for none. The caller holds the home's
            lock, so a socket file that is there is left over.

    Raises:
        UsageError: the address can be reached from outside without ``allow_remote`` and TLS.
        PortTakenError: the port that the owner chose is taken.
        MarinaError: the address does not belong to this machine.
    """
    if not is_loopback(settings.host) and not (settings.allow_remote and settings.tls_certificate):
        raise UsageError(f"api.host {settings.host} needs api.allow_remote = true and a certificate")
    sockets = bind_tcp(settings.host, settings.port, preferred=API_PORT)
    port: int = sockets[0].getsockname()[1]
    unix = _bind_unix(unix_path) if unix_path is not None else None
    first = sockets[0].getsockname()[0]
    return Bound(tuple(sockets), unix, f"[{first}]" if ":" in first else first, port)


def bind_tcp(host: str, port: int | None, *, preferred: int) -> list[socket.socket]:
    """Return listening sockets, all on one port.

    Args:
        host: an address, or ``loopback`` for both of this machine.
        port: None for ``preferred`` or any free one while that is taken, 0 for any.
        preferred: see there.

    Raises:
        PortTakenError: the port that was chosen is taken.
        MarinaError: the address does not belong to this machine.
    """
    hosts = LOOPBACK if host == "loopback" else (host,)
    if port is not None and port != 0:
        return _bind_all(hosts, port)
    candidates = [preferred] if port is None else []
    for candidate in [*candidates, *([0] * _TRIES)]:
        try:
            return _bind_all(hosts, candidate)
        except PortTakenError:
            # Port 0 can also fail: what is free on 127.0.0.1 may be taken on ::1.
            continue
    raise PortTakenError("no free port was found: set one with --port")


def _bind_all(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            one = _bind_one(host, bound[0].getsockname()[1] if bound else port, is_extra=bool(bound))
            if one is not None:
                bound.append(one)
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _bind_one(host: str, port: int, *, is_extra: bool) -> socket.socket | None:
    is_v6 = ":" in host
    try:
        sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as err:
        if is_extra and err.errno in _NO_IPV6:
            return None
        raise MarinaError(f"this node cannot use {host}: {os.strerror(err.errno or 0)}") from err
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as err:
        sock.close()
        if is_extra and err.errno in _NO_IPV6:
            return None
        raise _explained(err, host, port) from err
    return sock


def _explained(err: OSError, host: str, port: int) -> MarinaError:
    if err.errno == errno.EADDRINUSE:
        return PortTakenError(
            f"port {port} is taken by another program: choose another with --port, "
            "or let the node choose: 'marina config set api.port auto', or gateway.port"
        )
    return MarinaError(f"this node cannot listen on {host} port {port}: {err.strerror}")


def _bind_unix(path: Path) -> socket.socket | None:
    if len(os.fsencode(path)) > _UNIX_PATH_BYTES_MAX:
        log.info("no Unix socket: the home's path is too long for one")
        return None
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        log.debug("no old Unix socket to remove")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), 0o600)  # the file is made with the socket's mode: never open to others
        sock.bind(os.fspath(path))
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError as err:
        sock.close()
        raise MarinaError(f"the Unix socket {path} cannot be made: {err.strerror}") from err
    return sock
