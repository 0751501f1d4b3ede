"""Serves the local API over HTTP with Hypercorn's protocol code, and stops in time.

Hypercorn's own ``serve`` has no limit on connections, and shields its writes from cancellation: one
paused player that reads nothing would keep the daemon from stopping. So the accept loop is here: it
counts connections, and at the end closes their sockets, which ends every write.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from marina.errors import UsageError
from node.api.bind import Bound, bind_api
from node.api.limits import ApiLimits
from node.api.origin import OriginPolicy
from node.settings import ApiSettings

if TYPE_CHECKING:
    from trio_typing import TaskStatus

HEADER_TIMEOUT_S = 10
"""A request's headers must be whole this long after the connection or the last reply (rule 10)."""
STOP_GRACE_S = 1.0
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)
log = logging.getLogger("marina.node.api")
Stream = Any
"""A trio SocketStream, or an SSLStream over one."""


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API listens.

    Attributes:
        url: ``http://127.0.0.1:7787``, without a slash at the end.
        port: TCP port.
        unix_path: the Unix socket, or None.
    """

    url: str
    port: int
    unix_path: Path | None


class ApiServer:
    """Binds, serves, stops."""

    def __init__(
        self,
        *,
        make_app: Callable[[OriginPolicy], ASGIApp],
        settings: ApiSettings,
        unix_path: Path | None = None,
        limits: ApiLimits | None = None,
    ) -> None:
        """Take the collaborators.

        Args:
            make_app: returns the guarded app for the names that the bound port has.
            settings: where to listen.
            unix_path: file of the Unix socket, or None.
            limits: how many connections.
        """
        self._make_app = make_app
        self._settings = settings
        self._unix_path = unix_path
        self._limits = limits or ApiLimits()
        self._streams: set[Stream] = set()
        self._one_ended = trio.Event()
        self._accepting = trio.CancelScope()

    async def run(self, *, task_status: TaskStatus[ApiAddress] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``stop`` or cancellation; reports the address once connections are accepted.

        Raises:
            UsageError, PortTakenError, MarinaError: see ``bind_api``; or the certificate does not load.
        """
        ssl_context = _ssl_context(self._settings)
        bound = bind_api(self._settings, self._unix_path)
        try:
            await self._serve(bound, ssl_context, task_status)
        finally:
            for sock in bound.sockets:
                sock.close()
            if bound.unix is not None and self._unix_path is not None:
                bound.unix.close()
                self._unix_path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Accept no more; replies under way get a second to end, then ``run`` returns."""
        self._accepting.cancel()

    async def _serve(
        self, bound: Bound, ssl_context: ssl.SSLContext | None, task_status: TaskStatus[ApiAddress]
    ) -> None:
        scheme = "https" if ssl_context else "http"
        policy = OriginPolicy.for_port(
            bound.port, hosts=self._settings.hosts, origins=self._settings.origins, scheme=scheme
        )
        config, context = _config(), WorkerContext(None)
        # Starlette and Hypercorn describe ASGI in types of their own.
        app = wrap_app(cast("Any", self._make_app(policy)), config.wsgi_max_body_size, "asgi")

        async def handle(stream: Stream) -> None:
            with self._place(stream) as has_place:
                if has_place:
                    await _serve_connection(
                        lambda: _Connection(app, config, context, ConnectionState({}), stream).run()
                    )
                else:
                    await _refuse(stream)

        listeners = _listeners(bound, ssl_context)
        unix_path = self._unix_path if bound.unix is not None else None
        async with trio.open_nursery() as connections:
            try:
                task_status.started(
                    ApiAddress(f"{scheme}://{bound.host}:{bound.port}", bound.port, unix_path)
                )
                with self._accepting:
                    await trio.serve_listeners(handle, listeners, handler_nursery=connections)
                # Idle connections close themselves.
                await context.terminated.set()
                connections.cancel_scope.deadline = trio.current_time() + STOP_GRACE_S
                await self._drained(STOP_GRACE_S)
            finally:
                self._close_all()

    async def _drained(self, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            while self._streams:
                self._one_ended = trio.Event()
                await self._one_ended.wait()

    @contextmanager
    def _place(self, stream: Stream) -> Iterator[bool]:
        """Count the connection while the block runs; yields False when there are too many."""
        if len(self._streams) >= self._limits.connections_max:
            yield False
            return
        self._streams.add(stream)
        try:
            yield True
        finally:
            self._streams.discard(stream)
            self._one_ended.set()

    def _close_all(self) -> None:
        for stream in self._streams:
            transport: Stream = getattr(stream, "transport_stream", stream)
            transport.socket.close()


class _Connection(TCPServer):
    """Hypercorn's connection, that ends when its caller is gone instead of at the idle timeout."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


async def _serve_connection(serve: Callable[[], Any]) -> None:
    try:
        await serve()
    except Exception:
        # The boundary that keeps one connection's failure its own.
        log.exception("a connection failed")


async def _refuse(stream: Stream) -> None:
    with trio.move_on_after(1):
        try:
            await stream.send_all(_FULL)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a refused connection was gone already")
    await trio.aclose_forcefully(stream)


def _listeners(bound: Bound, ssl_context: ssl.SSLContext | None) -> list[Any]:
    tcp = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in bound.sockets]
    listeners: list[Any] = list(tcp)
    if ssl_context is not None:
        listeners = [trio.SSLListener(each, ssl_context, https_compatible=True) for each in tcp]
    if bound.unix is not None:
        listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(bound.unix)))
    return listeners


def _config() -> Config:
    config = Config()
    config.errorlog = logging.getLogger("marina.node.http")
    config.accesslog = None  # the guard logs requests, without their tickets
    config.include_server_header = False
    config.keep_alive_timeout = HEADER_TIMEOUT_S
    config.h11_max_incomplete_size = ApiLimits().header_bytes_max
    config.h2_max_header_list_size = ApiLimits().header_bytes_max
    config.h2_max_concurrent_streams = 16
    config.websocket_max_message_size = 1024
    config.graceful_timeout = STOP_GRACE_S
    return config


def _ssl_context(settings: ApiSettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as err:
        raise UsageError(
            f"the certificate cannot be used ({type(err).__name__}): "
            "check api.tls_certificate and api.tls_key"
        ) from err
    return context
