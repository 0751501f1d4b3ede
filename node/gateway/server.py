"""HTTP/1.1 for the gateway, on h11: one task a connection, every wait with an end."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import h11
import trio

from marina.errors import MarinaError
from node.gateway.answers import Answer, Gateway, Request, refused
from node.gateway.limits import PIECE_BYTES, Turnstile, network_of
from storage.file_ops import Buffer

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_RECEIVE_BYTES = 16 * 1024
log = logging.getLogger("marina.node.gateway")


class GatewayServer:
    """Serves one gateway on listening sockets."""

    def __init__(self, *, gateway: Gateway, turnstile: Turnstile) -> None:
        self._gateway = gateway
        self._turnstile = turnstile

    async def run(
        self, sockets: Sequence[socket.socket], *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled, then close everything."""
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(each)) for each in sockets]
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._serve, listeners, handler_nursery=nursery)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            network = network_of(stream.socket.getpeername()[0])
            with self._turnstile.place(network) as has_place:
                exchange = _Exchange(stream, network, self._turnstile)
                if not has_place:
                    await exchange.send(refused(503, "too many connections", ("Retry-After", "1")), "GET")
                    return
                try:
                    await self._serve_requests(exchange)
                except h11.RemoteProtocolError as err:
                    await exchange.refuse(err)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            log.debug("a connection to the gateway ended")
        except Exception:
            # The boundary that keeps one connection's failure its own.
            log.exception("a connection to the gateway failed")
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_requests(self, exchange: _Exchange) -> None:
        while (request := await exchange.request()) is not None:
            wait_s = self._turnstile.wait_s(exchange.network)
            if wait_s:
                answer = refused(429, "too many requests", ("Retry-After", str(wait_s)))
            else:
                answer = await self._gateway.answer(request)
            if not await exchange.send(answer, request.method):
                return


class _Exchange:
    """Requests and responses of one connection."""

    def __init__(self, stream: trio.SocketStream, network: str, turnstile: Turnstile) -> None:
        self.network = network
        self._stream = stream
        self._turnstile = turnstile
        self._limits = turnstile.limits
        self._is_last = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.header_bytes_max)

    async def request(self) -> Request | None:
        """Return the next request, None when there is none in time; one with a body is the last."""
        with trio.move_on_after(self._limits.idle_s):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))
            if not isinstance(event, h11.Request):
                return None
            headers: dict[str, str] = {}
            for name, value in event.headers:
                headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
            # Nothing is read of a body, so the connection cannot go on behind one.
            self._is_last = not isinstance(self._http.next_event(), h11.EndOfMessage)
            return Request(event.method.decode("latin-1"), event.target.decode("latin-1"), headers)
        return None

    async def refuse(self, err: h11.RemoteProtocolError) -> None:
        """Say what was wrong with a request, if nothing was said yet."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            answer = refused(err.error_status_hint, "that is no request that this gateway reads")
            await self._send(
                self._http.send(h11.Response(status_code=answer.status, headers=list(answer.all_headers)))
            )

    async def send(self, answer: Answer, method: str) -> bool:
        """Send a response; return whether another request may follow.

        Raises:
            TooSlowError: the reader does not read.
        """
        await self._send(
            self._http.send(h11.Response(status_code=answer.status, headers=list(answer.all_headers)))
        )
        if method != "HEAD" and answer.status not in {204, 304}:
            async with aclosing(_pieces(answer.body)) as pieces:
                async for piece in pieces:
                    await self._turnstile.pass_bytes(self.network, len(piece))
                    # As a list, h11 does not copy what it frames.
                    for part in (
                        self._http.send_with_data_passthrough(h11.Data(data=cast("Any", piece))) or ()
                    ):
                        await self._send(part)
        await self._send(self._http.send(h11.EndOfMessage()))
        if self._is_last or self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _send(self, data: Buffer | None) -> None:
        if data:
            with trio.fail_after(self._limits.send_s):
                await self._stream.send_all(memoryview(data))


async def _pieces(body: bytes | AsyncGenerator[Buffer, None]) -> AsyncGenerator[Buffer, None]:
    if isinstance(body, bytes):
        view = memoryview(body)
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]
        return
    try:
        async with aclosing(body) as parts:
            async for part in parts:
                view = memoryview(part)
                for start in range(0, len(view), PIECE_BYTES):
                    yield view[start : start + PIECE_BYTES]
    except MarinaError as err:
        log.info("a CAR file was cut off", extra={"context": {"reason": str(err)}})
        raise trio.BrokenResourceError from err
