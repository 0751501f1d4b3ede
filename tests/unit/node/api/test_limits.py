"""Rates, failed tries, fields and routes as pure parts."""

from __future__ import annotations

import pytest
import trio

from marina.clock import ManualClock
from node.api.dispatch import etag_matches
from node.api.errors import BadRequestError, MethodNotAllowedError, NoSuchRouteError, RateLimitedError
from node.api.fields import Fields, parse_body, parse_query
from node.api.limits import ApiLimits, FailedTries, RequestRates
from node.api.reply import Reply
from node.api.router import Open, Router, route
from node.api.scopes import Scope


class TrioClock(ManualClock):
    """Monotonic time that follows trio's virtual clock."""

    def monotonic_s(self) -> float:
        return trio.current_time()


def test_callers_are_remembered_up_to_a_bound():
    clock = ManualClock()
    rates = RequestRates(limits=ApiLimits(burst=2, requests_per_s=1, callers_max=3), clock=clock)
    for name in "abcabc":
        rates.take(name)
    with pytest.raises(RateLimitedError) as caught:
        rates.take("c")
    assert caught.value.retry_after_s == 1
    for name in "def":
        rates.take(name)
    rates.take("c")  # forgotten, so fresh


async def test_wrong_tries_beyond_five_wait_their_turn_and_a_crowd_is_refused_at_once(autojump_clock):
    tries = FailedTries(limits=ApiLimits(), clock=TrioClock())
    for _ in range(5):
        await tries.count()
    with pytest.raises(RateLimitedError):
        tries.check()
    ended: list[float] = []

    async def guess() -> None:
        with pytest.raises(RateLimitedError):
            await tries.count()
        ended.append(trio.current_time())

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(guess)
    waits = [round(moment - started) for moment in ended]
    assert sorted(waits) == [0] * 12 + [1, 2, 3, 4, 5, 6, 7, 8]
    await trio.sleep(60)
    tries.check()


def test_fields_are_typed_and_bounded():
    body = parse_body('{"n": 3, "t": "ü", "f": true, "l": ["a"], "none": null, "deep": {"a": [1]}}'.encode())
    assert body.whole("n", low=1, high=3) == 3
    assert body.text("t") == "ü"
    assert body.flag("f") is True
    assert body.flag("none") is False
    assert body.texts("l") == ["a"]
    assert body.text("missing", None) is None
    assert body.choice("t", ("ü", "x")) == "ü"
    assert "none" not in body
    query = parse_query(b"n=3&f=1&l=a,b&t=%C3%BC")
    assert query.whole("n", low=0, high=9) == 3
    assert query.flag("f") is True
    assert query.texts("l") == ["a", "b"]
    for bad in (
        lambda: body.whole("n", low=4, high=9),
        lambda: body.whole("f", low=0, high=9),
        lambda: body.whole("t", low=0, high=9),
        lambda: body.text("n"),
        lambda: body.text("t", bytes_max=1),
        lambda: body.text("missing"),
        lambda: body.flag("n"),
        lambda: body.texts("t2") or body.texts("n"),
        lambda: body.choice("t", ("a",)),
        lambda: Fields({"t": "a\x00b"}).text("t"),
        lambda: Fields({"t": "\ud800"}).text("t"),
        lambda: Fields({"n": "9" * 30}).whole("n", low=0, high=9),
        lambda: parse_body(b'{"n": ' + b"9" * 5000 + b"}"),
    ):
        with pytest.raises(BadRequestError):
            bad()


def test_routes_without_a_scope_twice_or_nowhere_are_refused():
    async def handler(ctx):
        return Reply.ok()

    router = Router()
    router.add("GET", "/a/{id}", handler, scope=Scope.ADMIN)
    for method, pattern, scope in [
        ("GET", "/b", None),
        ("GET", "/b", ()),
        ("GET", "/b", "admin?"),
        ("GET", "/b", (Scope.ADMIN, "x")),
        ("FETCH", "/b", Scope.ADMIN),
        ("GET", "b", Scope.ADMIN),
        ("GET", "/a/{id}", Open.PAGE),
    ]:
        with pytest.raises(ValueError, match=r"declares no scope|is no route|there already"):
            router.add(method, pattern, handler, scope=scope)
    with pytest.raises(ValueError, match="has no routes"):
        router.include(object())


def test_a_path_is_matched_whole_and_head_is_get():
    class Routes:
        @route("GET", "/a/{id}", scope=Scope.ADMIN)
        @route("DELETE", "/a/{id}", scope=(Scope.ADMIN, Scope.WRITE_MUSIC))
        async def one(self, ctx):
            return Reply.ok()

    router = Router()
    router.include(Routes())
    assert len(list(router)) == 2
    assert router.resolve("HEAD", "/a/7").params == {"id": "7"}
    assert router.resolve("DELETE", "/a/7").route.scopes == (Scope.ADMIN, Scope.WRITE_MUSIC)
    for path in ("/a/", "/a/7/8", "/a/7\n", "/x/a/7", "/a/" + "7" * 2000):
        with pytest.raises(NoSuchRouteError):
            router.resolve("GET", path)
    with pytest.raises(MethodNotAllowedError) as caught:
        router.resolve("POST", "/a/7")
    assert set(caught.value.allowed) == {"GET", "DELETE"}


def test_an_entity_tag_matches_as_the_standard_says():
    assert etag_matches('W/"a"', 'W/"a"')
    assert etag_matches('"b", "a"', 'W/"a"')
    assert etag_matches("*", 'W/"a"')
    assert not etag_matches("", 'W/"a"')
    assert not etag_matches('W/"ab"', 'W/"a"')
