"""Stands in front of every route of the local API: rules 1–11 of the design, in their order.

Pure ASGI, so that the server can be swapped. What passes carries its verdict (``dispatch.Passed``);
what does not gets a uniform JSON error. Rule 1 (binding) is in ``server.py``.

=====  =======================================================  ======
rule   check                                                     else
=====  =======================================================  ======
2      Host is exactly one of this node's names                  421
3      no foreign Origin, no cross-site Sec-Fetch-Site           403
4      changes are declared ``application/json``                 415
5, 6   a token that holds, with the route's scope                401, 403
8      open routes check their own code or ticket                401
9      security headers on every reply                           –
10     headers, body, connections, rate, failed tries            431, 413, 503, 429
11     errors without stack or path; audit log of changes        –
=====  =======================================================  ======
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marina.clock import Clock
from marina.errors import MarinaError, NotFoundError
from node.api.dispatch import PASSED, ClientGoneError, Passed
from node.api.envelope import REQUEST_ID_HEADER, dumps, failure, internal_failure, request_id
from node.api.errors import (
    HeadersTooLargeError,
    ScopeNeededError,
    UnauthenticatedError,
    UnsupportedMediaError,
    error_headers,
)
from node.api.limits import ApiLimits, FailedTries, InFlight, RequestRates
from node.api.metrics import ApiMetrics
from node.api.origin import (
    Caller,
    OriginPolicy,
    RawHeaders,
    check_caller,
    cors_headers,
    header,
    preflight_headers,
)
from node.api.router import Match, Open, Route, Router
from node.api.scopes import Scope as ApiScope
from node.api.tokens import AccessToken, TokenAuthority

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_AUDITED = frozenset({ApiScope.ADMIN, ApiScope.MODERATE_CONTENT, ApiScope.WRITE_MUSIC})
log = logging.getLogger("marina.node.api")
audit_log = logging.getLogger("marina.audit")


@dataclass(slots=True)
class _Exchange:
    """What is known about one request while it is answered."""

    scope: Scope
    headers: RawHeaders
    request: str
    started_s: float
    caller: Caller | None = None
    match: Match | None = None
    token: AccessToken | None = None
    status: int = 0


class Guard:
    """ASGI middleware that lets in what the rules allow."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        router: Router,
        tokens: TokenAuthority,
        policy: OriginPolicy,
        clock: Clock,
        metrics: ApiMetrics,
        limits: ApiLimits | None = None,
    ) -> None:
        self._app = app
        self._router = router
        self._tokens = tokens
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._limits = limits or ApiLimits()
        self._rates = RequestRates(limits=self._limits, clock=clock)
        self._failed_tries = FailedTries(limits=self._limits, clock=clock)
        self._in_flight = InFlight(requests_max=self._limits.connections_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection; no exception but cancellation leaves it."""
        if scope["type"] == "lifespan":
            return
        offered = next((value for key, value in scope["headers"] if key.lower() == REQUEST_ID_HEADER), None)
        exchange = _Exchange(
            scope=scope,
            headers=scope["headers"],
            request=request_id(offered),
            started_s=self._clock.monotonic_s(),
        )
        if scope["type"] == "websocket":
            await self._refuse_websocket(exchange, receive, send)
            return
        reply = _Writer(send, exchange)
        try:
            await self._answer(exchange, receive, reply)
        except ClientGoneError:
            log.debug("the caller left before its request was whole")
        except MarinaError as err:
            await self._send_error(exchange, reply, await self._after_failed_try(err))
        except Exception:
            log.exception("a request failed", extra={"context": self._context(exchange)})
            if reply.has_begun:
                raise  # the server must cut the connection, or the caller takes a part for the whole
            body = internal_failure(now_s=self._clock.now_s(), request=exchange.request)
            await reply.send_json(500, body, [])
        finally:
            self._record(exchange)

    async def _answer(self, exchange: _Exchange, receive: Receive, reply: _Writer) -> None:
        scope, headers = exchange.scope, exchange.headers
        if sum(len(key) + len(value) for key, value in headers) > self._limits.header_bytes_max:
            raise HeadersTooLargeError(f"the headers are larger than {self._limits.header_bytes_max} bytes")
        exchange.caller = check_caller(self._policy, headers)
        if scope["method"] == "OPTIONS" and exchange.caller.origin is not None:
            await reply.send_empty(204, preflight_headers(exchange.caller.origin, headers))
            return
        _check_content_type(scope["method"], headers)
        with self._in_flight.one():
            await self._admit(exchange)
            await self._app(scope, receive, reply.send)

    async def _admit(self, exchange: _Exchange) -> None:
        """Match the route and check the token; leaves the verdict in the ASGI scope."""
        scope = exchange.scope
        try:
            match = self._router.resolve(scope["method"], scope["path"])
        except MarinaError:
            # Only who holds a token learns which paths exist.
            exchange.token = self._token(exchange)
            self._rates.take(exchange.token.subject)
            raise
        exchange.match = match
        if isinstance(match.route.access, Open):
            self._rates.take("open")
            if match.route.access is Open.LOGIN:
                self._failed_tries.check()
        else:
            exchange.token = self._token(exchange)
            _check_scope(match.route, exchange.token)
            self._rates.take(exchange.token.subject)
        host = exchange.caller.host.decode("ascii", "replace") if exchange.caller else ""
        scope[PASSED] = Passed(
            match=match,
            token=exchange.token,
            request=exchange.request,
            headers={
                key.decode("latin-1").lower(): value.decode("latin-1") for key, value in exchange.headers
            },
            base_url=f"{self._policy.scheme.decode()}://{host}",
        )

    def _token(self, exchange: _Exchange) -> AccessToken:
        value = header(exchange.headers, b"authorization")
        if value is None:
            raise UnauthenticatedError(
                "this needs a token: the marina command has one, scripts get one by 'marina token create'"
            )
        kind, _, token = value.decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            raise UnauthenticatedError("the Authorization header must be 'Bearer TOKEN'")
        return self._tokens.verify(token.strip())

    async def _after_failed_try(self, err: MarinaError) -> MarinaError:
        """Return the error to answer; a wrong secret is counted and may turn into 429."""
        if isinstance(err, UnauthenticatedError) and err.is_guess:
            try:
                await self._failed_tries.count()
            except MarinaError as limited:
                return limited
        return err

    async def _send_error(self, exchange: _Exchange, reply: _Writer, err: MarinaError) -> None:
        if err.http_status >= 500:
            log.warning("a request failed: %s", err, extra={"context": self._context(exchange)})
        if reply.has_begun:
            raise err
        body = failure(err, now_s=self._clock.now_s(), request=exchange.request)
        await reply.send_json(err.http_status, body, error_headers(err))

    async def _refuse_websocket(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        """No route is a WebSocket; rules 2 and 3 still come first, so that the status tells the truth."""
        try:
            check_caller(self._policy, exchange.headers)
            err: MarinaError = NotFoundError("this node has no WebSockets")
        except MarinaError as refused:
            err = refused
        await receive()
        if "websocket.http.response" not in exchange.scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        body = failure(err, now_s=self._clock.now_s(), request=exchange.request)
        headers = [(b"content-type", b"application/json"), *SECURITY_HEADERS]
        await send({"type": "websocket.http.response.start", "status": err.http_status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": dumps(body), "more_body": False})

    def _record(self, exchange: _Exchange) -> None:
        """Count the request and, for a change that matters, write the audit log."""
        took_s = self._clock.monotonic_s() - exchange.started_s
        pattern = exchange.match.route.pattern if exchange.match else "-"
        self._metrics.record(exchange.scope["method"], pattern, exchange.status, took_s)
        context = {**self._context(exchange), "status": exchange.status, "took_ms": round(took_s * 1000, 1)}
        log.debug("request", extra={"context": context})
        route = exchange.match.route if exchange.match else None
        if route is not None and route.method != "GET" and _AUDITED.intersection(route.scopes):
            audit_log.info("%s %s", route.method, route.pattern, extra={"context": context})

    @staticmethod
    def _context(exchange: _Exchange) -> dict[str, object]:
        """Return what may be logged of a request: the pattern, never the path with its tickets."""
        route = exchange.match.route if exchange.match else None
        return {
            "request": exchange.request,
            "method": exchange.scope.get("method", "GET"),
            "route": route.pattern if route else "-",
            "subject": exchange.token.subject if exchange.token else "-",
        }


class _Writer:
    """Sends a reply with the headers that every reply has."""

    def __init__(self, send: Send, exchange: _Exchange) -> None:
        self._send = send
        self._exchange = exchange
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets the headers."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            self._exchange.status = message["status"]
            message = {**message, "headers": self._with_own(message.get("headers", []))}
        await self._send(message)

    async def send_json(self, status: int, body: object, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a whole JSON reply."""
        data = dumps(body)
        own = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-length", str(len(data)).encode()),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
        await self.send({"type": "http.response.body", "body": data})

    async def send_empty(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a reply without a body."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    def _with_own(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        fixed = {name for name, _ in SECURITY_HEADERS}
        kept = [(key, value) for key, value in headers if key.lower() not in fixed]
        origin = self._exchange.caller.origin if self._exchange.caller else None
        has_cors = any(key.lower() == b"access-control-allow-origin" for key, _ in kept)
        cors = cors_headers(origin) if origin is not None and not has_cors else []
        return [*kept, *cors, *SECURITY_HEADERS, (REQUEST_ID_HEADER, self._exchange.request.encode())]


def _check_content_type(method: str, headers: RawHeaders) -> None:
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    value = header(headers, b"content-type") or b""
    kind, _, parameters = value.partition(b";")
    charset = parameters.strip().lower().replace(b'"', b"")
    if kind.strip().lower() != b"application/json" or charset not in (b"", b"charset=utf-8"):
        raise UnsupportedMediaError("changes must be sent as 'Content-Type: application/json'")


def _check_scope(route: Route, token: AccessToken) -> None:
    if not token.scopes.intersection(route.scopes):
        raise ScopeNeededError(tuple(scope.value for scope in route.scopes))
