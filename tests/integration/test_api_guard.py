"""The guard of the local API against a real server on a real port, request by request (T26, T27)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import inspect
import json
import logging
import pkgutil
import re
import socket
import stat
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio

import node.api
from marina.clock import ManualClock
from marina.errors import NotFoundError, NotPermittedError
from marina.metrics import Registry
from marina.secret import Secret
from node.api.app import build_app
from node.api.bind import PortTakenError
from node.api.limits import ApiLimits
from node.api.metrics import ApiMetrics
from node.api.reply import REVALIDATE, PageQuery, Reply
from node.api.router import Open, Router
from node.api.routes_health import HealthRoutes
from node.api.routes_page import PageRoutes
from node.api.routes_session import SessionRoutes
from node.api.scopes import Scope
from node.api.server import ApiServer
from node.api.sessions import OneTimeCodes, Sessions
from node.api.tokens import TokenAuthority
from node.health import CheckResult, Health, HealthMonitor
from node.settings import ApiSettings
from storage.kv import MemoryKv

KEY = Secret(b"k" * 32)
NODE_ID = "12D3KooWTest"
FOREIGN = "https://radio.example"
OPEN_ROUTES = {
    ("GET", "/"): Open.PAGE,
    ("GET", "/player/{name}"): Open.PAGE,
    ("GET", "/livez"): Open.LIVENESS,
    ("GET", "/readyz"): Open.LIVENESS,
    ("POST", "/api/v1/session"): Open.LOGIN,
    ("POST", "/api/v1/session/refresh"): Open.LOGIN,
    ("GET", "/api/v1/stream/{ticket}"): Open.TICKET,
}


@dataclass
class Api:
    """One running API with everything a test may want to turn."""

    client: httpx.AsyncClient
    router: Router
    tokens: TokenAuthority
    codes: OneTimeCodes
    health: HealthMonitor
    clock: ManualClock
    port: int
    server: ApiServer

    def bearer(self, *scopes: Scope, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens.issue('cli', frozenset(scopes))}", **more}

    @property
    def admin(self) -> dict[str, str]:
        return self.bearer(*Scope)

    async def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.post(path, json=body, headers=headers or self.admin)


def add_sample_routes(router: Router) -> None:
    stopped = trio.Event()

    @router.route("GET", "/api/v1/echo/{id}", scope=Scope.READ_MUSIC)
    async def echo(ctx):
        return Reply.ok({"id": ctx.params["id"], "q": ctx.query.text("q", None)}, cache=REVALIDATE)

    @router.route("POST", "/api/v1/echo", scope=Scope.WRITE_MUSIC)
    async def change(ctx):
        return Reply.created(ctx.body.raw())

    @router.route("GET", "/api/v1/list", scope=Scope.READ_MUSIC)
    async def pages(ctx):
        items = [f"item{i:03}" for i in range(120)]
        page = PageQuery.read(ctx.query).cut(
            items, key=str, show=lambda item: {"id": item, "size": len(item)}
        )
        return Reply.page(page)

    @router.route("GET", "/api/v1/defect", scope=Scope.READ_MUSIC)
    async def defect(ctx):
        raise RuntimeError("/home/owner/secret.txt is not readable")

    @router.route("GET", "/api/v1/missing", scope=Scope.READ_MUSIC)
    async def missing(ctx):
        raise NotFoundError("no such track: look it up with 'marina find'")

    @router.route("GET", "/api/v1/locked", scope=Scope.READ_MUSIC)
    async def locked(ctx):
        raise NotPermittedError("the vault is locked")

    async def events(count: int):
        for i in range(count):
            yield {"event": "progress", "done": i, "total": count}
        raise NotFoundError("the folder went away")

    @router.route("POST", "/api/v1/events", scope=Scope.READ_MUSIC)
    async def stream(ctx):
        return Reply.stream(events(ctx.body.whole("count", low=0, high=10)))

    async def endless():
        try:
            while True:
                yield {"event": "tick"}
                await trio.sleep(0.01)
        finally:
            stopped.set()

    @router.route("GET", "/api/v1/endless", scope=Scope.READ_MUSIC)
    async def ticks(ctx):
        return Reply.stream(endless())

    @router.route("GET", "/api/v1/stopped", scope=Scope.READ_MUSIC)
    async def has_stopped(ctx):
        with trio.fail_after(5):
            await stopped.wait()
        return Reply.ok()

    @router.route("GET", "/api/v1/bytes", scope=Scope.READ_MUSIC)
    async def flood(ctx):
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(64):
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        return Reply.asgi(app)


@asynccontextmanager
async def running(*, limits=None, settings=None, unix_path=None, router=None):
    clock = ManualClock()
    store = MemoryKv()
    tokens = TokenAuthority(key=KEY, node_id=NODE_ID, store=store, clock=clock)
    await tokens.load()
    codes = OneTimeCodes(clock=clock)
    health = HealthMonitor(clock=clock)
    registry = Registry()
    if router is None:
        router = Router()
        router.include(
            PageRoutes(),
            HealthRoutes(health=health, registry=registry),
            SessionRoutes(tokens=tokens, codes=codes, sessions=Sessions(tokens=tokens, codes=codes)),
        )
        add_sample_routes(router)
    metrics = ApiMetrics(registry)
    # Tests about rates say so; all others may ask as fast as they like.
    limits = limits or ApiLimits(requests_per_s=1e6, burst=1e6)

    def make_app(policy):
        return build_app(
            router=router, tokens=tokens, policy=policy, clock=clock, metrics=metrics, limits=limits
        )

    settings = settings or ApiSettings(port=0, origins=(FOREIGN,))
    server = ApiServer(make_app=make_app, settings=settings, unix_path=unix_path, limits=limits)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        async with httpx.AsyncClient(base_url=address.url, timeout=10) as client:
            yield Api(client, router, tokens, codes, health, clock, address.port, server)
        nursery.cancel_scope.cancel()


def is_enveloped(reply: httpx.Response) -> bool:
    body = reply.json()
    assert set(body) == {"success", "data", "message", "timestamp", "requestId", "error"}
    assert body["requestId"] == reply.headers["x-request-id"]
    assert body["timestamp"].endswith("Z")
    if not body["success"]:
        assert set(body["error"]) == {"code", "message", "details", "metadata"}
    return True


async def test_host_origin_and_content_type_follow_the_table():
    async with running() as api:
        own = f"http://127.0.0.1:{api.port}"
        post, get = ("POST", "/api/v1/echo"), ("GET", "/api/v1/echo/1")
        as_json = {"Content-Type": "application/json"}
        table = [
            # Rule 2: the name.
            (get, {}, 200),
            (get, {"Host": f"localhost:{api.port}"}, 200),
            (get, {"Host": f"[::1]:{api.port}"}, 200),
            (get, {"Host": f"LOCALHOST:{api.port}"}, 200),
            (get, {"Host": "localhost"}, 421),
            (get, {"Host": f"localhost:{api.port + 1}"}, 421),
            (get, {"Host": f"evil.example:{api.port}"}, 421),
            (get, {"Host": f"127.0.0.1.nip.io:{api.port}"}, 421),
            (get, {"Host": f"localhost.:{api.port}"}, 421),
            (get, {"Host": f"user@localhost:{api.port}"}, 421),
            (get, {"Host": "0.0.0.0"}, 421),
            # Rule 3: the page.
            (get, {"Origin": own}, 200),
            (get, {"Origin": FOREIGN}, 200),
            (get, {"Origin": "null"}, 403),
            (get, {"Origin": "http://evil.example"}, 403),
            (get, {"Origin": f"https://127.0.0.1:{api.port}"}, 403),
            (get, {"Origin": f"http://127.0.0.1:{api.port + 1}"}, 403),
            (get, {"Origin": f"http://localhost:{api.port}"}, 403),
            (get, {"Origin": FOREIGN + ".evil.example"}, 403),
            (get, {"Origin": "chrome-extension://abcdef"}, 403),
            (get, {"Sec-Fetch-Site": "none"}, 200),
            (get, {"Sec-Fetch-Site": "same-origin"}, 200),
            (get, {"Sec-Fetch-Site": "same-site"}, 403),
            (get, {"Sec-Fetch-Site": "cross-site"}, 403),
            (get, {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}, 200),
            # Rule 4: the declared kind of a change.
            (post, as_json, 201),
            (post, {"Content-Type": "application/json; charset=utf-8"}, 201),
            (post, {"Content-Type": "text/plain"}, 415),
            (post, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
            (post, {"Content-Type": "multipart/form-data; boundary=x"}, 415),
            (post, {"Content-Type": "application/json, text/plain"}, 415),
            (post, {"Content-Type": "application/json; charset=utf-16"}, 415),
            (post, {}, 415),
            (("DELETE", "/api/v1/session"), {}, 415),
            # Order: an earlier rule answers first.
            (post, {"Host": "evil.example", "Origin": "null", "Authorization": "x"}, 421),
            (post, {"Origin": "null", "Authorization": "x"}, 403),
            (post, {"Authorization": "x"}, 415),
            (post, {**as_json, "Authorization": "x"}, 401),
        ]
        for (method, path), headers, wanted in table:
            content = b"{}" if method != "GET" else None
            reply = await api.client.request(method, path, headers={**api.admin, **headers}, content=content)
            assert reply.status_code == wanted, f"{method} {path} {headers}: {reply.text}"
            assert is_enveloped(reply)


def all_handlers() -> Router:
    """Return every route of the product: each class of node.api.routes_* that has some."""
    router = Router()
    for info in pkgutil.iter_modules(node.api.__path__):
        if not info.name.startswith("routes_"):
            continue
        module = importlib.import_module(f"node.api.{info.name}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and _has_routes(cls):
                # Never called here: the guard must stop every request before a handler needs its services.
                router.include(object.__new__(cls))
    return router


def _has_routes(cls: type) -> bool:
    return any(hasattr(member, "__marina_routes__") for _, member in inspect.getmembers(cls))


async def test_every_route_of_the_product_refuses_no_token_and_a_token_without_its_scope():
    routes = all_handlers()
    # Enough for one refusal of each kind per route, all from one caller.
    async with running(router=routes) as api:
        walked = 0
        for each in routes:
            if isinstance(each.access, Open):
                continue
            walked += 1
            path = re.sub(r"{\w+}", "abc", each.pattern)
            content = b"{}" if each.method != "GET" else None
            headers = {"Content-Type": "application/json"}
            reply = await api.client.request(each.method, path, headers=headers, content=content)
            assert (reply.status_code, is_enveloped(reply)) == (401, True), path
            assert reply.headers["www-authenticate"].startswith("Bearer")
            others = frozenset(Scope) - set(each.scopes)
            if others:
                headers["Authorization"] = f"Bearer {api.tokens.issue('cli', others)}"
                reply = await api.client.request(each.method, path, headers=headers, content=content)
                assert reply.status_code == 403, path
                error = reply.json()["error"]
                assert error["code"] == "scope_needed"
                assert error["metadata"]["scopes"] == [scope.value for scope in each.scopes]
        assert walked > 40


def test_only_the_routes_listed_here_need_no_token():
    found = {(each.method, each.pattern): each.access for each in all_handlers() if not each.scopes}
    assert found == OPEN_ROUTES


def test_the_page_about_the_api_names_every_route_with_its_scopes():
    rows = (Path(__file__).parents[2] / "docs" / "api.md").read_text().splitlines()
    for each in all_handlers():
        named = [
            row for row in rows if re.search(rf"{each.method}\b[^|*]*`{re.escape(each.pattern)}[`?]", row)
        ]
        assert named, f"{each.method} {each.pattern} is not in docs/api.md"
        words = [scope.value for scope in each.scopes] if len(each.scopes) < 3 else ["any"]
        assert any(all(word in row for word in words or ["open"]) for row in named), named


async def test_no_token_of_another_algorithm_node_key_or_shape_is_taken():
    def b64(value: object) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(header: object, claims: object, key: bytes = KEY.reveal()) -> str:
        signed = f"{b64(header)}.{b64(claims)}"
        return f"{signed}.{b64(hmac.digest(key, signed.encode(), hashlib.sha256))}"

    async with running(limits=ApiLimits(failed_tries_per_min=1000)) as api:
        now = api.clock.now_s()
        hs256 = {"alg": "HS256", "typ": "JWT"}
        good = {
            "iss": f"marina:{NODE_ID}",
            "aud": f"marina-api:{NODE_ID}",
            "sub": "cli",
            "jti": "0" * 16,
            "iat": now,
            "exp": now + 900,
            "scope": "read_music",
        }
        assert (await api.client.get("/api/v1/echo/1", headers=_with(token(hs256, good)))).status_code == 200
        without_exp = {name: value for name, value in good.items() if name != "exp"}
        bad = [
            token({"alg": "none", "typ": "JWT"}, good),
            f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64(good)}.",
            token({"alg": "HS384", "typ": "JWT"}, good),
            token({"typ": "JWT", "alg": "HS256"}, good),
            token({**hs256, "kid": "1"}, good),
            token(hs256, good, key=b"x" * 32),
            token(hs256, {**good, "aud": "marina-api:other"}),
            token(hs256, {**good, "aud": [good["aud"]]}),
            token(hs256, {**good, "iss": "marina:other"}),
            token(hs256, {**good, "exp": now}),
            token(hs256, {**good, "exp": now + 901}),
            token(hs256, {**good, "exp": str(now + 900)}),
            token(hs256, {**good, "exp": True}),
            token(hs256, {**good, "iat": now + 3600, "exp": now + 3700}),
            token(hs256, {**good, "sub": "script:" + "0" * 16}),
            token(hs256, {**good, "sub": "session:" + "0" * 16}),
            token(hs256, {**good, "scope": ""}),
            token(hs256, {**good, "scope": "read_music everything"}),
            token(hs256, {**good, "extra": 1}),
            token(hs256, without_exp),
            token(hs256, [good]),
            token(hs256, b"{"),
            token(hs256, good) + "=",
            token(hs256, good)[:-1],
            "." * 3000,
        ]
        for each in bad:
            reply = await api.client.get("/api/v1/echo/1", headers=_with(each))
            assert reply.status_code == 401, each[:80]


def _with(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_expiry_and_revocation_hold_at_once():
    async with running() as api:
        headers = api.bearer(Scope.READ_MUSIC)
        api.clock.advance(899)
        assert (await api.client.get("/api/v1/echo/1", headers=headers)).status_code == 200
        api.clock.advance(1)
        assert (await api.client.get("/api/v1/echo/1", headers=headers)).status_code == 401

        body = {"scopes": ["read_music"], "ttl": "30d", "name": "radio"}
        made = (await api.post("/api/v1/tokens", body)).json()["data"]
        api.clock.advance(29 * 86_400)
        assert (await api.client.get("/api/v1/echo/1", headers=_with(made["token"]))).status_code == 200
        listed = (await api.client.get("/api/v1/tokens", headers=api.admin)).json()["data"]["items"]
        assert [each["name"] for each in listed] == ["radio"]
        assert "token" not in listed[0]
        reply = await api.client.request("DELETE", f"/api/v1/tokens/{made['id']}", headers=_json(api.admin))
        assert reply.status_code == 200
        assert (await api.client.get("/api/v1/echo/1", headers=_with(made["token"]))).status_code == 401

        stolen = api.bearer(Scope.READ_MUSIC)
        assert (await api.client.request("DELETE", "/api/v1/tokens/cli", headers=_json(api.admin))).is_success
        assert (await api.client.get("/api/v1/echo/1", headers=stolen)).status_code == 401
        api.clock.advance(1)
        assert (await api.client.get("/api/v1/echo/1", headers=api.bearer(Scope.READ_MUSIC))).is_success


def _json(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Content-Type": "application/json"}


async def test_a_token_cannot_make_one_that_may_more():
    async with running() as api:
        body = {"scopes": ["read_music", "admin"]}
        reply = await api.post("/api/v1/tokens", body, api.bearer(Scope.ADMIN))
        assert reply.status_code == 400
        assert "read_music" in reply.json()["message"]


async def test_a_link_opens_one_session_once_and_its_refresh_tokens_rotate():
    async with running() as api:
        link = (await api.post("/api/v1/player-link", {})).json()["data"]["link"]
        assert link.startswith(f"http://127.0.0.1:{api.port}/#code=")
        code = link.partition("#code=")[2]
        pair = (await api.client.post("/api/v1/session", json={"code": code})).json()["data"]
        assert pair["scopes"] == ["read_music"]
        assert (await api.client.get("/api/v1/echo/1", headers=_with(pair["accessToken"]))).is_success
        assert (await api.client.get("/metrics", headers=_with(pair["accessToken"]))).status_code == 403
        assert (await api.client.post("/api/v1/session", json={"code": code})).status_code == 401

        refresh = {"refreshToken": pair["refreshToken"]}
        second = (await api.client.post("/api/v1/session/refresh", json=refresh)).json()["data"]
        assert (await api.client.get("/api/v1/echo/1", headers=_with(second["accessToken"]))).is_success
        # Someone shows the spent one: the session ends for both.
        assert (await api.client.post("/api/v1/session/refresh", json=refresh)).status_code == 401
        refresh = {"refreshToken": second["refreshToken"]}
        assert (await api.client.post("/api/v1/session/refresh", json=refresh)).status_code == 401
        assert (
            await api.client.get("/api/v1/echo/1", headers=_with(second["accessToken"]))
        ).status_code == 401


async def test_a_link_is_dead_after_a_minute():
    async with running() as api:
        link = (await api.post("/api/v1/player-link", {})).json()["data"]["link"]
        api.clock.advance(60)
        body = {"code": link.partition("#code=")[2]}
        assert (await api.client.post("/api/v1/session", json=body)).status_code == 401


async def test_guessing_is_stopped_after_five_tries_and_the_owner_stays_in():
    async with running() as api:

        async def guess(i: int) -> int:
            return (await api.client.post("/api/v1/session", json={"code": f"guess{i}"})).status_code

        assert [await guess(i) for i in range(5)] == [401] * 5
        code = api.codes.issue(frozenset({Scope.READ_MUSIC}))
        reply = await api.client.post("/api/v1/session", json={"code": code})
        assert reply.status_code == 429
        assert 1 <= int(reply.headers["retry-after"]) <= 12
        started = trio.current_time()
        assert (await api.client.get("/api/v1/echo/1", headers=_with("wrong"))).status_code == 429
        assert trio.current_time() - started >= 0.9
        assert (await api.client.get("/api/v1/echo/1", headers=api.admin)).status_code == 200
        api.clock.advance(12)
        assert (await api.client.post("/api/v1/session", json={"code": code})).status_code == 201


async def test_a_token_has_a_rate_and_a_burst_of_its_own():
    async with running(limits=ApiLimits(requests_per_s=50, burst=100)) as api:
        headers = api.bearer(Scope.READ_MUSIC)
        for _ in range(100):
            assert (await api.client.get("/api/v1/echo/1", headers=headers)).status_code == 200
        reply = await api.client.get("/api/v1/echo/1", headers=headers)
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
        assert reply.json()["error"]["metadata"]["isRetriable"] is True
        token, _ = await api.tokens.create_script_token("other", frozenset({Scope.READ_MUSIC}), 60)
        assert (await api.client.get("/api/v1/echo/1", headers=_with(token))).status_code == 200
        api.clock.advance(0.1)
        assert (await api.client.get("/api/v1/echo/1", headers=headers)).status_code == 200


async def test_every_reply_has_the_security_headers_and_a_harmless_request_id():
    async with running() as api:
        replies = [
            await api.client.get("/"),
            await api.client.get("/livez"),
            await api.client.get("/api/v1/echo/1"),
            await api.client.get("/nothing", headers=api.admin),
            await api.client.get("/", headers={"Host": "evil.example"}),
            await api.client.get("/api/v1/echo/1", headers={**api.admin, "X-Request-Id": "my-id.1"}),
            await api.client.get("/api/v1/echo/1", headers={**api.admin, "X-Request-Id": "<script>"}),
        ]
        for reply in replies:
            policy = reply.headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert "server" not in reply.headers
            assert "set-cookie" not in reply.headers
        assert replies[-2].headers["x-request-id"] == "my-id.1"
        assert "script" not in replies[-1].headers["x-request-id"]


async def test_a_preflight_is_answered_for_listed_origins_only():
    async with running() as api:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
        reply = await api.client.options("/api/v1/echo", headers={"Origin": FOREIGN, **ask})
        assert reply.status_code == 204
        assert reply.headers["access-control-allow-origin"] == FOREIGN
        assert reply.headers["access-control-allow-private-network"] == "true"
        assert "access-control-allow-credentials" not in reply.headers
        reply = await api.client.options("/api/v1/echo", headers={"Origin": "http://evil.example", **ask})
        assert reply.status_code == 403
        assert not [name for name in reply.headers if name.startswith("access-control")]
        reply = await api.client.options("/api/v1/echo", headers=ask)
        assert reply.status_code == 401
        reply = await api.client.get("/api/v1/echo/1", headers={**api.admin, "Origin": FOREIGN})
        assert reply.headers["access-control-allow-origin"] == FOREIGN


async def test_errors_are_uniform_and_tell_nothing_about_the_inside(caplog):
    async with running() as api:
        cases = [
            ("GET", "/api/v1/nothing", 404, "no_such_route"),
            ("PUT", "/api/v1/echo", 405, "method_not_allowed"),
            ("GET", "/api/v1/missing", 404, "not_found"),
            ("GET", "/api/v1/locked", 403, "not_permitted"),
            ("GET", "/api/v1/defect", 500, "internal"),
        ]
        for method, path, status, code in cases:
            content = b"{}" if method != "GET" else None
            reply = await api.client.request(method, path, headers=_json(api.admin), content=content)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
            assert is_enveloped(reply)
            assert "Traceback" not in reply.text
            assert "/home" not in reply.text
        assert (await api.client.get("/api/v1/missing", headers=api.admin)).json()["error"]["metadata"][
            "exitCode"
        ] == 4
        assert "secret.txt" in caplog.text, "the log keeps the stack that the reply hides"
        reply = await api.client.request("PUT", "/api/v1/echo", headers=_json(api.admin), content=b"{}")
        assert reply.headers["allow"] == "POST"


async def test_bodies_are_bounded_and_must_be_one_json_object():
    async with running() as api:
        bad = [b"[1]", b"{", b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 50_000]
        for content in bad:
            reply = await api.client.post("/api/v1/echo", headers=_json(api.admin), content=content)
            assert (reply.status_code, is_enveloped(reply)) == (400, True), content[:20]
        large = b'{"a":"' + b"x" * (1 << 20) + b'"}'
        assert (
            await api.client.post("/api/v1/echo", headers=_json(api.admin), content=large)
        ).status_code == 413
        headers = {**api.admin, "X-Filler": "x" * 15_000}
        assert (await api.client.get("/api/v1/echo/1", headers=headers)).status_code == 200
        headers = {**api.admin, **{f"X-Filler-{i}": "x" * 4000 for i in range(5)}}
        assert (await api.client.get("/api/v1/echo/1", headers=headers)).status_code == 431
        for query in ("q=1&q=2", "q=%ff", "&".join(f"a{i}=1" for i in range(100))):
            reply = await api.client.get(f"/api/v1/echo/1?{query}", headers=api.admin)
            assert reply.status_code == 400, query


async def test_an_unchanged_reply_is_304_and_large_ones_are_compressed():
    async with running() as api:
        first = await api.client.get("/api/v1/list?limit=120", headers=api.admin)
        assert first.headers["content-encoding"] == "gzip"
        assert len(first.json()["data"]["items"]) == 120
        etag = first.headers["etag"]
        again = await api.client.get("/api/v1/list?limit=120", headers={**api.admin, "If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        other = await api.client.get("/api/v1/list?limit=7", headers={**api.admin, "If-None-Match": etag})
        assert other.status_code == 200


async def test_a_list_is_walked_by_its_cursor_and_cut_to_the_fields_asked_for():
    async with running() as api:
        seen, cursor = [], ""
        while cursor is not None:
            reply = await api.client.get(
                "/api/v1/list", params={"limit": 50, "cursor": cursor, "fields": "id"}, headers=api.admin
            )
            page = reply.json()["data"]
            seen += page["items"]
            cursor = page["nextCursor"]
        assert seen == [{"id": f"item{i:03}"} for i in range(120)]
        assert (await api.client.get("/api/v1/list?limit=501", headers=api.admin)).status_code == 400


async def test_a_stream_of_events_ends_with_its_error_and_stops_when_the_caller_leaves():
    async with running() as api:
        reply = await api.post("/api/v1/events", {"count": 2})
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert reply.headers["content-type"] == "application/x-ndjson"
        assert [line["event"] for line in lines] == ["progress", "progress", "error"]
        assert lines[-1]["error"]["code"] == "not_found"
        stream = await _raw_get(api, "/api/v1/endless")
        while b"tick" not in await stream.receive_some(4096):
            pass
        await stream.aclose()
        assert (await api.client.get("/api/v1/stopped", headers=api.admin)).status_code == 200


async def _raw_get(api: Api, path: str) -> trio.SocketStream:
    """Send a request and leave the reading to the caller, as a paused player does."""
    stream = await trio.open_tcp_stream("127.0.0.1", api.port)
    token = api.tokens.issue("cli", frozenset({Scope.READ_MUSIC}))
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{api.port}", f"Authorization: Bearer {token}", "", ""]
    await stream.send_all("\r\n".join(lines).encode())
    return stream


async def test_health_tells_each_component_and_degraded_is_not_down():
    async with running() as api:

        async def well():
            return CheckResult(Health.HEALTHY, "3 peers")

        async def slow_disk():
            return CheckResult(Health.DEGRADED, "the disk is slow")

        assert (await api.client.get("/livez")).status_code == 200
        assert (await api.client.get("/readyz")).status_code == 503
        reply = await api.client.get("/health", headers=api.admin)
        assert (reply.status_code, reply.json()["success"]) == (503, False)
        assert reply.json()["data"]["components"]["chain"]["status"] == "healthy"
        for name in ("database", "swarm"):
            api.health.register(name, well)
        api.health.register("cache", slow_disk)
        api.health.mark_ready()
        assert (await api.client.get("/readyz")).status_code == 200
        reply = await api.client.get("/health", headers=api.admin)
        assert (reply.status_code, reply.json()["data"]["status"]) == (200, "degraded")
        assert set(reply.json()["data"]["components"]) == {"database", "cache", "swarm", "chain", "model"}


async def test_metrics_need_their_scope_and_count_by_route_not_by_path():
    async with running() as api:
        await api.client.get("/api/v1/echo/secret-id", headers=api.admin)
        reply = await api.client.get("/metrics", headers=api.bearer(Scope.METRICS_READ))
        assert reply.status_code == 200
        assert 'route="/api/v1/echo/{id}",status="200"' in reply.text
        assert "secret-id" not in reply.text


async def test_changes_that_matter_are_in_the_audit_log_without_secrets(caplog):
    caplog.set_level(logging.INFO, logger="marina.audit")
    async with running() as api:
        made = (await api.post("/api/v1/tokens", {"scopes": ["read_music"]})).json()["data"]
        await api.client.get("/api/v1/tokens", headers=api.admin)
        records = [each for each in caplog.records if each.name == "marina.audit"]
        assert [each.getMessage() for each in records] == ["POST /api/v1/tokens"]
        assert records[0].context["subject"] == "cli"
        assert made["token"] not in caplog.text


async def test_a_websocket_is_refused_by_the_same_rules():
    async def upgrade(port: int, host: str, origin: str | None) -> bytes:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        lines = [
            "GET /api/v1/events HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *([f"Origin: {origin}"] if origin else []),
        ]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        answer = await stream.receive_some(4096)
        await stream.aclose()
        return bytes(answer).split(b"\r\n")[0]

    async with running() as api:
        own = f"127.0.0.1:{api.port}"
        assert b" 421" in await upgrade(api.port, "evil.example", None)
        assert b" 403" in await upgrade(api.port, own, "http://evil.example")
        assert b" 404" in await upgrade(api.port, own, f"http://{own}")


async def test_the_unix_socket_is_for_the_owner_alone_and_gone_after_the_end(tmp_path):
    path = tmp_path / "api.sock"
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(path))
    left_over.close()
    async with running(unix_path=path) as api:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost:{api.port}") as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/livez", headers={"Host": "evil"})).status_code == 421
    assert not path.exists()


async def test_only_loopback_is_bound_and_both_of_its_addresses():
    async with running() as api:
        for host in ("127.0.0.1", "::1"):
            stream = await trio.open_tcp_stream(host, api.port)
            await stream.aclose()
        # 127.0.0.2 stands for every other address of this machine: a wildcard bind would accept it.
        with pytest.raises(OSError, match="attempts to connect"):
            await trio.open_tcp_stream("127.0.0.2", api.port)


async def test_a_taken_port_is_named_and_an_automatic_one_moves_on():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.RaisesGroup(
            pytest.RaisesExc(PortTakenError, match=str(port)), flatten_subgroups=True, allow_unwrapped=True
        ):
            async with running(settings=ApiSettings(port=port)):
                pass
    async with (
        running(settings=ApiSettings()) as one,
        running(settings=ApiSettings()) as two,
    ):
        assert one.port != two.port


async def test_more_connections_than_allowed_are_refused_and_the_next_gets_in_again():
    async with running(limits=ApiLimits(connections_max=4)) as api:
        streams = [await trio.open_tcp_stream("127.0.0.1", api.port) for _ in range(4)]
        await trio.testing.wait_all_tasks_blocked()
        fifth = await trio.open_tcp_stream("127.0.0.1", api.port)
        assert b"503" in await fifth.receive_some(100)
        for stream in [*streams, fifth]:
            await stream.aclose()
        with trio.fail_after(5):
            while not (await _try_get(api)):
                await trio.sleep(0.01)


async def _try_get(api: Api) -> bool:
    try:
        return (await api.client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_player_that_reads_nothing_does_not_keep_the_node_from_stopping():
    async with running() as api:
        stream = await _raw_get(api, "/api/v1/bytes")
        assert b"200" in await stream.receive_some(100)
        await trio.sleep(0.2)  # the server fills the socket's buffers and blocks in its write
        started = trio.current_time()
    assert trio.current_time() - started < 2
    await stream.aclose()


async def test_stop_lets_a_reply_end_and_closes_what_is_idle():
    with trio.fail_after(5):
        async with running() as api:
            assert (await api.client.get("/livez")).status_code == 200
            api.server.stop()


async def _trickle(stream: trio.SocketStream) -> None:
    with trio.move_on_after(14):
        while True:
            await stream.send_all(b"X: y\r\n")
            await trio.sleep(0.5)


@pytest.mark.slow
async def test_headers_that_trickle_in_are_cut_after_ten_seconds():
    async with running() as api:
        stream = await trio.open_tcp_stream("127.0.0.1", api.port)
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        started = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await _trickle(stream)
        assert 8 < trio.current_time() - started < 13
        await stream.aclose()
