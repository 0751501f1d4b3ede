"""One JSON-RPC endpoint over HTTP: its connections, its limits, and what it may not do to this node."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import httpx
import trio

from chain.errors import ChainUnavailableError, RpcError, WrongChainError
from chain.profiles import ChainProfile, masked
from marina.jsontext import load_json

log = logging.getLogger("marina.chain")

BODY_BYTES_MAX = 32 << 20
_PARSE_HERE_BYTES_MAX = 128 << 10
"""A longer answer is parsed in a worker thread, so that it holds up nothing else."""
_MESSAGE_CHARS_MAX = 300
_RETRY_AFTER_S_MAX = 60.0
_TOO_MANY_REQUESTS = 429
_LIMIT_EXCEEDED = -32005
"""EIP-1474 "limit exceeded": providers send it for too many requests, and for too many results too."""
_PACE_WORDS = ("rate", "request count", "too many requests", "per second", "quota", "capacity")

# A compressed answer could unfold to any size before it is measured.
_HEADERS = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}

Call = tuple[str, Sequence[object]]
"""(method, parameters) of one JSON-RPC request."""


class EndpointFailedError(ChainUnavailableError):
    """This endpoint did not give a usable answer; another one may.

    Attributes:
        pause_s: it asked to be left alone for so long.
    """

    def __init__(self, message: str, *, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class EndpointState:
    """How an endpoint is, for people.

    Attributes:
        address: without path and query, which may hold a key.
        is_well: whether the last request was answered.
        fault: what was wrong last, empty when well.
    """

    address: str
    is_well: bool
    fault: str


class Endpoint:
    """One endpoint. Before its first use, and after every fault, it must name the right chain."""

    def __init__(
        self,
        url: str,
        *,
        profile: ChainProfile,
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = masked(url)
        self._url = url
        self._profile = profile
        self._timeout_s = timeout_s
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._is_checked = False
        self._is_foreign = False
        self._next_id = 0
        self.fault = ""
        self.not_before_s = 0.0
        self.paused_until_s = 0.0

    def __repr__(self) -> str:
        return f"Endpoint({self.address})"

    @property
    def is_foreign(self) -> bool:
        """Whether it said that it is of another chain."""
        return self._is_foreign

    def state(self) -> EndpointState:
        """Return how it is."""
        return EndpointState(self.address, not self.fault, self.fault)

    async def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return the result of each call, an ``RpcError`` in the place of one that was refused.

        Several calls travel as one batch.

        Raises:
            EndpointFailedError: no usable answer.
            WrongChainError: it is of another chain.
        """
        if not self._is_checked:
            await self._check_chain()
        return await self._ask(calls)

    async def aclose(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _check_chain(self) -> None:
        (answer,) = await self._ask([("eth_chainId", [])])
        try:
            found = int(answer, 16)
        except (TypeError, ValueError) as err:
            raise self._failed("does not say of which chain it is") from err
        self._is_foreign = found != self._profile.chain_id
        if self._is_foreign:
            self.fault = f"is of chain {found}, not of {self._profile.chain_id} ({self._profile.name})"
            raise WrongChainError(
                f"{self.address} {self.fault}: correct chain.endpoints or chain.profile (marina config set)"
            )
        self._is_checked = True

    async def _ask(self, calls: Sequence[Call]) -> list[Any]:
        first = self._next_id
        self._next_id += len(calls)
        requests = [
            {"jsonrpc": "2.0", "id": first + at, "method": method, "params": list(params)}
            for at, (method, params) in enumerate(calls)
        ]
        body = json.dumps(requests if len(requests) > 1 else requests[0], separators=(",", ":"))
        raw = await self._post(body.encode())
        try:
            if len(raw) <= _PARSE_HERE_BYTES_MAX:
                answers = _parse(raw)
            else:
                answers = await trio.to_thread.run_sync(_parse, raw)
        except ValueError as err:
            what = "a web page" if raw.lstrip()[:1] == b"<" else "something that is no JSON"
            raise self._failed(f"answers with {what}: is it the address of a JSON-RPC endpoint?") from err
        results = self._match(answers if isinstance(answers, list) else [answers], first, len(calls))
        self.fault = ""
        return results

    def _match(self, answers: list[Any], first: int, count: int) -> list[Any]:
        whole = self._refused_whole(answers)
        if whole is not None:
            return [RpcError(whole.rpc_code, whole.message, whole.data) for _ in range(count)]
        by_id = {each["id"]: each for each in answers if isinstance(each, dict) and _is_id(each.get("id"))}
        if len(answers) != count or set(by_id) != set(range(first, first + count)):
            raise self._failed("answers something else than was asked")
        return [self._result(by_id[number]) for number in range(first, first + count)]

    def _refused_whole(self, answers: list[Any]) -> RpcError | None:
        """Return the refusal of a request that was not even read, as of batches where there are none."""
        only = answers[0] if len(answers) == 1 else None
        if not isinstance(only, dict) or only.get("id") is not None or only.get("error") is None:
            return None
        return self._refusal(only["error"])

    def _result(self, answer: dict[str, Any]) -> Any:
        if answer.get("error") is not None:
            return self._refusal(answer["error"])
        if "result" not in answer:
            raise self._failed("answers neither a result nor an error")
        return answer["result"]

    def _refusal(self, error: object) -> RpcError:
        if not isinstance(error, dict):
            raise self._failed("answers an error without words")
        code, words = error.get("code"), clean(error.get("message"))
        if code == _TOO_MANY_REQUESTS or (code == _LIMIT_EXCEEDED and _is_about_pace(words)):
            raise self._failed(f"asks for a pause ({words})", pause_s=1.0)
        data = error.get("data")
        if isinstance(data, dict):  # some wrap it once more
            data = data.get("data")
        try:
            raw = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else None
        except ValueError:
            raw = None
        return RpcError(code if isinstance(code, int) else 0, words, raw)

    async def _post(self, body: bytes) -> bytes:
        raw, is_long = bytearray(), False
        try:
            with trio.move_on_after(self._timeout_s) as scope:
                async with self._open().stream("POST", self._url, content=body, headers=_HEADERS) as reply:
                    if reply.headers.get("content-encoding", "identity") != "identity":
                        raise self._failed("compresses its answers although it was asked not to")
                    async for part in reply.aiter_bytes():
                        is_long = is_long or len(raw) + len(part) > BODY_BYTES_MAX
                        if is_long:
                            # An exception from here would leave httpx's generators open; this ends them.
                            scope.cancel()
                        else:
                            raw += part
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as err:
            raise self._failed(f"cannot be reached ({type(err).__name__})") from err
        if is_long:
            raise self._failed(f"answers with more than {BODY_BYTES_MAX >> 20} MiB")
        if scope.cancelled_caught:
            raise self._failed(f"did not answer within {self._timeout_s:g} s")
        self._check_status(reply.status_code, reply.headers.get("retry-after"))
        if reply.status_code >= 400 and bytes(raw).lstrip()[:1] not in (b"{", b"["):
            raise self._failed(f"answers HTTP {reply.status_code}")
        return bytes(raw)

    def _check_status(self, status: int, retry_after: str | None) -> None:
        if status in {429, 503}:
            raise self._failed("asks for a pause", pause_s=_retry_after_s(retry_after))
        if status in (401, 403):
            raise self._failed(f"does not let this node in (HTTP {status}): check its key")

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=None,  # noqa: S113 - one deadline over everything, in _post
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=60.0),
                follow_redirects=False,
                trust_env=False,
                transport=self._transport,
                verify=not self._url.startswith("http:"),  # certificates are read for nothing there
            )
        return self._client

    def _failed(self, what: str, *, pause_s: float = 0.0) -> EndpointFailedError:
        # After a fault another server may stand behind the address.
        self._is_checked = False
        self.fault = what
        return EndpointFailedError(f"{self.address} {what}", pause_s=pause_s)


def clean(words: object) -> str:
    """Return an endpoint's words on one bounded line without control characters."""
    text = words if isinstance(words, str) else "no reason given"
    return "".join(char if char.isprintable() else " " for char in text[:_MESSAGE_CHARS_MAX])


def _parse(raw: bytes) -> Any:
    value = load_json(raw)
    if not isinstance(value, (dict, list)):
        raise ValueError("neither an object nor a list")
    return value


def _is_id(value: object) -> bool:
    return type(value) is int


def _is_about_pace(words: str) -> bool:
    lowered = words.lower()
    return any(each in lowered for each in _PACE_WORDS)


def _retry_after_s(header: str | None) -> float:
    try:
        asked_s = float(header or 1.0)
    except ValueError:  # an HTTP date: rare, and no reason to parse one
        return 1.0
    return min(max(asked_s, 0.1), _RETRY_AFTER_S_MAX) if isfinite(asked_s) else 1.0
