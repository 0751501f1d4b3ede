"""JSON-RPC endpoints in memory, behind httpx as real ones are: honest, slow, lying, or broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import httpx
import trio

from chain.profiles import PROFILES, ChainProfile
from chain.rpc import RpcConfig, RpcPool

START_S = 1_700_000_000


class TrioClock:
    """Marina's clock over trio's, so that virtual time moves both."""

    def now_s(self) -> int:
        """Return Unix seconds."""
        return START_S + int(trio.current_time())

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start."""
        return trio.current_time()


class Refused(Exception):  # noqa: N818 - what an answer is made of, not a failure
    """An endpoint answers with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


Answer = Callable[[str, list[Any]], Any]
"""(method, parameters) → result, or raises Refused."""
Spoil = Callable[[httpx.Request, httpx.Response], httpx.Response]


class Wire(httpx.AsyncBaseTransport):
    """One endpoint.

    Attributes:
        answer: gives the results.
        requests: methods of each request that came.
        is_down: nothing can be reached.
        delay_s: before each answer.
        loses_answers: takes requests, and then the connection breaks.
        spoil: changes the answer on its way.
    """

    def __init__(self, answer: Answer, *, chain_id: int = 31337) -> None:
        self.answer = answer
        self.chain_id = chain_id
        self.requests: list[list[str]] = []
        self.is_down = False
        self.delay_s = 0.0
        self.loses_answers = False
        self.spoil: Spoil | None = None

    @property
    def asked(self) -> list[str]:
        """All methods that were asked, apart from the chain's id."""
        return [each for methods in self.requests for each in methods if each != "eth_chainId"]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one HTTP request."""
        body = json.loads(await request.aread())
        await trio.sleep(self.delay_s)
        if self.is_down:
            raise httpx.ConnectError("connection refused", request=request)
        calls = body if isinstance(body, list) else [body]
        self.requests.append([each["method"] for each in calls])
        answers = [self._one(each) for each in calls]
        if self.loses_answers:
            raise httpx.ReadError("connection reset", request=request)
        response = httpx.Response(200, json=answers if isinstance(body, list) else answers[0])
        return response if self.spoil is None else self.spoil(request, response)

    def _one(self, call: Mapping[str, Any]) -> dict[str, Any]:
        reply = {"jsonrpc": "2.0", "id": call["id"]}
        if call["method"] == "eth_chainId":
            return {**reply, "result": hex(self.chain_id)}
        try:
            return {**reply, "result": self.answer(call["method"], call["params"])}
        except Refused as err:
            return {**reply, "error": err.error}


def instead(content: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Spoil:
    """Return a spoiler that answers with something else than the endpoint would."""
    return lambda _request, _response: httpx.Response(status, content=content, headers=dict(headers or {}))


def pool_over(
    wires: Mapping[str, Wire],
    *,
    profile: ChainProfile = PROFILES["dev"],
    tries_max: int = 3,
    timeout_s: float = 8.0,
) -> RpcPool:
    """Return a pool whose endpoints are these, by address."""
    config = RpcConfig(timeout_s=timeout_s, tries_max=tries_max, transport=lambda url: wires[url])
    return RpcPool(endpoints=list(wires), profile=profile, clock=TrioClock(), rng=Random(1), config=config)
