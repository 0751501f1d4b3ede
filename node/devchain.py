"""The development chain as a service: JSON-RPC over HTTP on the loopback address, for any number of nodes.

What keeps strangers out is where it listens and what it answers: only 127.0.0.1, only requests that name
it as their host and that no foreign page sent, only POST of declared JSON. There are no accounts to guard.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from marina.errors import MarinaError
from node.api.bind import PortTakenError
from node.api.limits import ApiLimits
from node.api.origin import OriginPolicy, check_caller, header
from node.api.server import ApiServer
from node.settings import ApiSettings
from node.turns import Turns

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send
    from trio_typing import TaskStatus

DEV_PORT = 8545
"""Where Ethereum nodes and development chains listen by custom."""
HOST = "127.0.0.1"
BODY_BYTES_MAX = 1 << 20
BODY_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 128
_JSON = b"application/json"
log = logging.getLogger("marina.node.devchain")


class Rpc(Protocol):
    """The chain's interface: ``chain.dev.rpc.DevRpc``."""

    def handle(self, body: bytes) -> bytes:
        """Return the answer to one request; blocks, and is called by one thread at a time."""
        ...

    def may_change(self, body: bytes) -> bool:
        """Return whether a request may change the chain."""
        ...


@dataclass(frozen=True, slots=True)
class _Refusal(Exception):  # noqa: N818 - an answer to a client
    status: int
    text: str


class DevChainService:
    """Serves one chain until it is cancelled."""

    def __init__(self, *, rpc: Rpc, port: int = DEV_PORT) -> None:
        """Take the collaborators.

        Args:
            rpc: over an open engine.
            port: TCP port on 127.0.0.1; 0 for any free one.
        """
        self._rpc = rpc
        self._port = port
        self._turns = Turns()

    async def run(self, *, task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve; reports the URL once connections are accepted.

        Raises:
            PortTakenError: another program listens on the port.
        """
        server = ApiServer(
            make_app=lambda policy: _App(self._answer, policy),
            settings=ApiSettings(host=HOST, port=self._port),
            limits=ApiLimits(connections_max=CONNECTIONS_MAX),
        )
        try:
            async with trio.open_nursery() as nursery:
                address = await nursery.start(server.run)
                task_status.started(address.url)
        except BaseExceptionGroup as group:
            if group.subgroup(PortTakenError) is None:
                raise
            raise PortTakenError(
                f"port {self._port} is taken by another program: choose another with --port, "
                "or --port 0 for any that is free"
            ) from group

    async def _answer(self, body: bytes) -> bytes:
        async with self._turns.one(is_change=self._rpc.may_change(body)):
            # Not abandoned when the client goes: a change that began is finished before the next one.
            return await trio.to_thread.run_sync(self._rpc.handle, body)


async def serve_until_signal(service: DevChainService, on_ready: Callable[[str], None]) -> None:
    """Run the service in the foreground until SIGINT or SIGTERM.

    Args:
        service: not running yet.
        on_ready: called with the URL.

    Raises:
        PortTakenError: as ``DevChainService.run``.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            on_ready(await nursery.start(service.run))
            async for number in signals:
                log.info("stopping", extra={"context": {"signal": signal.Signals(number).name}})
                break
            nursery.cancel_scope.cancel()


class _App:
    """The ASGI application: one path, one method, one media type."""

    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]], policy: OriginPolicy) -> None:
        self._answer = answer
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            reply = await self._answer(await _body(receive))
            await _send(send, 200 if reply else 204, _JSON, reply)
        except _Refusal as refusal:
            await _send(send, refusal.status, b"text/plain; charset=utf-8", refusal.text.encode() + b"\n")

    def _check(self, scope: Scope) -> None:
        try:
            check_caller(self._policy, scope["headers"])
            declared = header(scope["headers"], b"content-type") or b""
        except MarinaError as err:
            raise _Refusal(err.http_status, str(err)) from err
        if scope["path"] != "/":
            raise _Refusal(404, "the development chain answers at / alone")
        if scope["method"] != "POST":
            raise _Refusal(405, "the development chain answers POST alone")
        if declared.partition(b";")[0].strip().lower() != _JSON:
            raise _Refusal(415, "declare the request as application/json")


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    with trio.move_on_after(BODY_TIMEOUT_S):
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refusal(400, "the request was not whole")
            body += message.get("body", b"")
            if len(body) > BODY_BYTES_MAX:
                raise _Refusal(413, f"a request has at most {BODY_BYTES_MAX} bytes")
            if not message.get("more_body", False):
                return bytes(body)
    raise _Refusal(408, "the request did not arrive in time")


async def _send(send: Send, status: int, media_type: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers if body else headers[2:]})
    await send({"type": "http.response.body", "body": body})
