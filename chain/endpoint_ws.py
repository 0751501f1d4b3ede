"""One JSON-RPC endpoint over WebSocket: the same questions, limits and checks as over HTTP.

The protocol is wsproto's and the streams are trio's: an endpoint lives without a nursery, and a connection
is read only while an answer is awaited. No extension is offered, so nothing is compressed.
Source: RFC 6455.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from chain.endpoint import BODY_BYTES_MAX, Endpoint
from chain.profiles import ChainProfile

_CONNECTIONS_MAX = 16
_RECEIVE_BYTES = 64 << 10
_PORTS = {"ws": 80, "wss": 443}


class _UnusableError(Exception):
    """The connection did not bring an answer; the words say why."""


class _RejectedError(Exception):
    """The handshake was answered with an HTTP status.

    Attributes:
        status: that status.
        retry_after: the header, None without it.
    """

    def __init__(self, status: int, retry_after: str | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


class WebSocketEndpoint(Endpoint):
    """One endpoint at a ws or wss address. A connection carries one question at a time and is used again."""

    def __init__(self, url: str, *, profile: ChainProfile, timeout_s: float) -> None:
        super().__init__(url, profile=profile, timeout_s=timeout_s)
        self._places = trio.Semaphore(_CONNECTIONS_MAX)
        self._idle: list[_Connection] = []

    async def aclose(self) -> None:
        """Close its connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _post(self, body: bytes) -> bytes:
        try:
            with trio.fail_after(self._timeout_s):
                async with self._places:
                    return await self._exchange(body)
        except trio.TooSlowError as err:
            raise self._failed(f"did not answer within {self._timeout_s:g} s") from err
        except _RejectedError as err:
            self._check_status(err.status, err.retry_after)
            raise self._failed(f"does not speak WebSocket (HTTP {err.status})") from err
        except _UnusableError as err:
            raise self._failed(str(err)) from err
        except (OSError, ProtocolError, UnicodeError, trio.BrokenResourceError) as err:
            raise self._failed(f"cannot be reached ({type(err).__name__})") from err

    async def _exchange(self, body: bytes) -> bytes:
        if self.fault:  # a connection that failed may hold answers to questions that nobody waits for
            await self.aclose()
        if self._idle:
            kept = self._idle.pop()
            try:
                return await self._ask_over(kept, body)
            except (_UnusableError, OSError, ProtocolError, trio.BrokenResourceError):
                if kept.is_answering:
                    raise
                # It was closed while nobody used it. Every request may be repeated (``RpcPool.call``).
        connection = _Connection(await self._connect())
        try:
            await connection.shake_hands(self._url)
        except BaseException:
            await connection.aclose()
            raise
        return await self._ask_over(connection, body)

    async def _ask_over(self, connection: _Connection, body: bytes) -> bytes:
        try:
            answer = await connection.ask(body)
        except BaseException:
            await connection.aclose()
            raise
        self._idle.append(connection)
        return answer

    async def _connect(self) -> trio.abc.Stream:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        if parts.scheme == "ws":
            return await trio.open_tcp_stream(host, port)
        context = httpx.create_ssl_context(trust_env=False)
        # The handshake is done with the first bytes that are sent.
        return await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context, https_compatible=True)


class _Connection:
    """One WebSocket.

    Attributes:
        is_answering: whether something of the last answer has come.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self.is_answering = False

    async def shake_hands(self, url: str) -> None:
        """Turn HTTP into a WebSocket; _RejectedError if the server does not want to."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        await self._stream.send_all(self._protocol.send(Request(host=parts.netloc, target=target)))
        while True:
            for event in await self._receive():
                if isinstance(event, AcceptConnection):
                    return
                if isinstance(event, RejectConnection):
                    headers = {name.lower(): value.decode("latin-1") for name, value in event.headers}
                    raise _RejectedError(event.status_code, headers.get(b"retry-after"))

    async def ask(self, body: bytes) -> bytes:
        """Return the next message after a question."""
        self.is_answering = False
        await self._stream.send_all(self._protocol.send(TextMessage(data=body.decode())))
        answer = bytearray()
        while True:
            for event in await self._receive():
                if isinstance(event, Ping):
                    await self._stream.send_all(self._protocol.send(event.response()))
                elif isinstance(event, CloseConnection):
                    raise _UnusableError("closed the connection instead of an answer")
                elif isinstance(event, (TextMessage, BytesMessage)):
                    self.is_answering = True
                    answer += event.data.encode() if isinstance(event.data, str) else event.data
                    if len(answer) > BODY_BYTES_MAX:
                        raise _UnusableError(f"answers with more than {BODY_BYTES_MAX >> 20} MiB")
                    if event.message_finished:
                        return bytes(answer)

    async def aclose(self) -> None:
        """Cut the connection; nobody says goodbye to a server that has answered."""
        await trio.aclose_forcefully(self._stream)

    async def _receive(self) -> list[Event]:
        raw = await self._stream.receive_some(_RECEIVE_BYTES)
        if not raw:
            raise _UnusableError("closed the connection instead of an answer")
        self._protocol.receive_data(bytes(raw))
        return list(self._protocol.events())
