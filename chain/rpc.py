"""JSON-RPC to a chain through whichever of the configured endpoints is well."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import trio

from chain.endpoint import Call, Endpoint, EndpointFailedError, EndpointState
from chain.errors import ChainUnavailableError, EndpointsDisagreeError, RpcError, WrongChainError
from chain.profiles import ChainProfile, check_endpoint
from marina.clock import Clock
from marina.errors import UsageError
from marina.retry import Backoff

log = logging.getLogger("marina.chain")

ENDPOINTS_MAX = 8
BATCH_MAX = 100
_RETRY_BASE_S, _RETRY_CAP_S = 0.1, 5.0
_REST_S = 5.0
"""An endpoint that failed is asked again after this, or sooner when all others failed too."""
_PAUSE_S_MAX = 3.0
"""How long a request waits for endpoints that all asked for a pause, before it gives up."""

View = Callable[[Any], object]
TransportFactory = Callable[[str], httpx.AsyncBaseTransport | None]


@dataclass(frozen=True, slots=True)
class RpcConfig:
    """How patient the pool is.

    Attributes:
        timeout_s: one request to one endpoint.
        tries_max: rounds over all endpoints.
        transport: what carries the requests to an http address; None for the network.
    """

    timeout_s: float = 8.0
    tries_max: int = 3
    transport: TransportFactory = field(default=lambda _: None)


class RpcPool:
    """Several endpoints of one chain, the healthy ones first."""

    def __init__(
        self,
        *,
        endpoints: Sequence[str],
        profile: ChainProfile,
        clock: Clock,
        rng: Random,
        config: RpcConfig | None = None,
    ) -> None:
        """Check the addresses; nothing is asked yet.

        Raises:
            UsageError: there is none, there are too many, or one may not be used.
        """
        if not 0 < len(endpoints) <= ENDPOINTS_MAX:
            raise UsageError(
                f"give from one to {ENDPOINTS_MAX} endpoints: marina config set chain.endpoints …"
            )
        config = config or RpcConfig()
        self.profile = profile
        self._clock = clock
        self._rng = rng
        self._backoff = Backoff(_RETRY_BASE_S, _RETRY_CAP_S, config.tries_max)
        self._endpoints = [
            _endpoint(check_endpoint(url), profile, config) for url in dict.fromkeys(endpoints)
        ]

    async def call(self, method: str, params: Sequence[object]) -> Any:
        """Return the result of one request from the first endpoint that answers.

        A request may reach several endpoints, one after another: each method that Marina uses may be
        repeated without harm, sending a signed transaction too.

        Raises:
            RpcError: an endpoint refused it.
            WrongChainError: every endpoint is of another chain.
            ChainUnavailableError: none answers.
        """
        (answer,) = await self._ask([(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many requests in their order, an ``RpcError`` in the place of a refused one.

        Raises:
            WrongChainError, ChainUnavailableError: as above.
        """
        found: list[Any] = []
        for start in range(0, len(calls), BATCH_MAX):
            found += await self._ask(calls[start : start + BATCH_MAX])
        return found

    async def agreed(self, method: str, params: Sequence[object]) -> Any:
        """Return an answer that as many endpoints give as the chain's quorum asks for.

        Use it where a lie costs more than a delay. The parameters must fix the block, or honest endpoints
        will differ.

        Raises:
            EndpointsDisagreeError: two endpoints differ.
            WrongChainError: every endpoint is of another chain.
            ChainUnavailableError: fewer than the quorum are configured or answer.
            RpcError: as many as are asked for refused it.
        """
        (answer,) = await self.agreed_batch([(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def agreed_batch(
        self, calls: Sequence[Call], *, quorum: int | None = None, view: View = lambda result: result
    ) -> list[Any]:
        """Return results on which endpoints agree, all of one endpoint's from one request to it.

        Args:
            calls: at most 100.
            quorum: how many must agree; None for the chain's quorum.
            view: the part of a result that must be the same.

        Raises:
            As ``agreed``, but an ``RpcError`` stands in the place of a call that was refused; nothing of
            the batch is agreed then.
        """
        wanted = self.profile.quorum if quorum is None else quorum
        answered: dict[str, list[Any]] = {}
        refused: dict[str, list[Any]] = {}

        def heard(address: str, answers: list[Any]) -> bool:
            for other, others in answered.items():
                _compare(calls, view, (other, others), (address, answers))
            answered[address] = answers
            return len(answered) >= wanted

        if await self._hear(calls, refused, heard):
            return next(reversed(answered.values()))
        for answers in refused.values():
            return answers
        raise self._too_few(wanted, len(answered))

    async def independent(self, calls: Sequence[Call]) -> list[list[Any]]:
        """Return what as many endpoints as the chain's quorum say, each for itself, compared with no other.

        For what honest endpoints may differ in, like their newest block.

        Raises:
            WrongChainError, ChainUnavailableError: as ``agreed``.
        """
        found: list[list[Any]] = []

        def heard(_: str, answers: list[Any]) -> bool:
            found.append(answers)
            return len(found) >= self.profile.quorum

        if await self._hear(calls, {}, heard):
            return found
        raise self._too_few(self.profile.quorum, len(found))

    async def _hear(
        self, calls: Sequence[Call], refused: dict[str, list[Any]], heard: Callable[[str, list[Any]], bool]
    ) -> bool:
        """Ask one endpoint after another until ``heard`` says that it is enough; return whether it did.

        Who refuses a call is put to the refused.
        """
        asked: set[str] = set()
        for endpoint in self._in_order():
            # Two addresses at one host are one operator: it cannot confirm itself.
            if endpoint.address in asked or self._pause_s(endpoint) > 0:
                continue
            try:
                answers = await endpoint.ask(calls)
            except (EndpointFailedError, WrongChainError) as err:
                self._rest(endpoint, err)
                continue
            asked.add(endpoint.address)
            if any(isinstance(each, RpcError) for each in answers):
                # No statement about the chain: a node that lags behind refuses honestly.
                refused[endpoint.address] = answers
                continue
            if heard(endpoint.address, answers):
                return True
        return False

    def _too_few(self, wanted: int, answered: int) -> ChainUnavailableError | WrongChainError:
        if all(each.is_foreign for each in self._endpoints):
            return WrongChainError(
                f"{self._endpoints[0].address} {self._endpoints[0].fault}: correct chain.endpoints or "
                "chain.profile (marina config set)"
            )
        return ChainUnavailableError(
            f"{wanted} independent endpoints must agree and {answered} of {len(self._endpoints)} "
            "answered: add endpoints with 'marina config set chain.endpoints'"
        )

    @property
    def operators(self) -> int:
        """How many different hosts are configured."""
        return len({each.address for each in self._endpoints})

    def states(self) -> list[EndpointState]:
        """Return how each endpoint is, in the order of the settings."""
        return [each.state() for each in self._endpoints]

    async def aclose(self) -> None:
        """Close every connection."""
        for each in self._endpoints:
            await each.aclose()

    async def _ask(self, calls: Sequence[Call]) -> list[Any]:
        delays = self._backoff.delays(self._rng)
        is_alone = True
        while True:
            fault = ""
            for endpoint in self._in_order():
                if self._pause_s(endpoint) > 0:
                    fault = fault or f"{endpoint.address} {endpoint.fault}"
                    continue
                try:
                    answers = await endpoint.ask(calls)
                except (EndpointFailedError, WrongChainError) as err:
                    fault, is_alone = self._rest(endpoint, err), False
                    continue
                for answer in answers:
                    if isinstance(answer, RpcError):
                        answer.is_alone = is_alone
                return answers
            if all(each.is_foreign for each in self._endpoints):
                raise WrongChainError(fault)
            delay_s = next(delays, None)
            pause_s = min(self._pause_s(each) for each in self._endpoints)
            if delay_s is None or pause_s > _PAUSE_S_MAX:
                raise ChainUnavailableError(
                    f"the chain does not answer ({fault}): free music plays on; "
                    "check chain.endpoints or try later"
                )
            await trio.sleep(max(delay_s, pause_s))

    def _in_order(self) -> list[Endpoint]:
        """Return the endpoints as configured, those that failed lately behind the others."""
        now_s = self._clock.monotonic_s()
        return sorted(self._endpoints, key=lambda each: max(0.0, each.not_before_s - now_s))

    def _pause_s(self, endpoint: Endpoint) -> float:
        """Return for how long an endpoint asked not to be asked."""
        return max(0.0, endpoint.paused_until_s - self._clock.monotonic_s())

    def _rest(self, endpoint: Endpoint, err: EndpointFailedError | WrongChainError) -> str:
        now_s = self._clock.monotonic_s()
        pause_s = err.pause_s if isinstance(err, EndpointFailedError) else 0.0
        endpoint.paused_until_s = now_s + pause_s
        endpoint.not_before_s = now_s + max(_REST_S, pause_s)
        log.info("an endpoint of the chain failed", extra={"context": {"cause": str(err)}})
        return str(err)


def _endpoint(url: str, profile: ChainProfile, config: RpcConfig) -> Endpoint:
    if url.startswith("ws"):
        from chain.endpoint_ws import WebSocketEndpoint

        return WebSocketEndpoint(url, profile=profile, timeout_s=config.timeout_s)
    return Endpoint(url, profile=profile, timeout_s=config.timeout_s, transport=config.transport(url))


def _compare(
    calls: Sequence[Call], view: View, one: tuple[str, list[Any]], other: tuple[str, list[Any]]
) -> None:
    for (method, _), mine, theirs in zip(calls, one[1], other[1], strict=True):
        if view(mine) != view(theirs):
            raise EndpointsDisagreeError(
                f"{one[0]} and {other[0]} tell different things about {method}: "
                "nothing that costs money is done until they agree"
            )
