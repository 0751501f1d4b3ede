"""What an index reads from a chain's endpoints: blocks and logs, each checked before it is used.

Nothing that an endpoint says is taken on trust where it can be held against something else that it
said: the blocks are those asked for, and logs lie in the range, one in each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chain.errors import RpcError
from chain.events import EventDecoder, Log, parse_bytes, parse_log, parse_quantity
from chain.index.store import BlockRef
from marina.errors import MalformedError, NetworkError
from marina.ids import account_text

_HEADERS_AT_ONCE = 50


class InconsistentChainError(NetworkError):
    """An endpoint contradicts itself: its logs are not of the blocks that it shows."""

    code = "inconsistent_chain"


class Rpc(Protocol):
    """The part of ``chain.rpc.RpcPool`` that the indexer needs."""

    async def call(self, method: str, params: Sequence[object]) -> Any:
        """Return the result of one JSON-RPC call."""
        ...

    async def batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """Return the results in order, an RpcError in place of each that was refused."""
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """What an index needs of a block: its name, the one before it, and its Unix time."""

    ref: BlockRef
    parent: bytes
    time_s: int


class ChainSource:
    """Reads blocks and the wanted logs of some contracts."""

    def __init__(self, rpc: Rpc, decoder: EventDecoder, wanted: frozenset[tuple[str, str]]) -> None:
        """Make a source, which asks nothing yet.

        Args:
            rpc: the chain's endpoints.
            decoder: of the contracts whose logs are read.
            wanted: the (contract, event) pairs that are asked for.
        """
        self._rpc = rpc
        self._filter = {
            "address": [account_text(each) for each in sorted(decoder.addresses)],
            "topics": [["0x" + each.hex() for each in decoder.topics(wanted)]],
        }

    async def range_logs(self, first: int, last: int) -> list[Log]:
        """Return the logs of a range of blocks, both ends included, in the order of the chain.

        Raises:
            InconsistentChainError: the answer is none, or of other blocks.
            RpcError: the endpoint refused, as when it is too much at once.
            NetworkError: nobody answered.
        """
        asked = {**self._filter, "fromBlock": hex(first), "toBlock": hex(last)}
        answer = await self._rpc.call("eth_getLogs", [asked])
        return _parse_logs(answer, first, last)

    async def block_logs(self, headers: Sequence[Header]) -> list[list[Log]]:
        """Return the logs of each of some blocks, asked for by their hashes; errors as for ranges.

        An endpoint that does not have one of these very blocks says so (EIP-234).
        """
        answers = await self._batch(
            [
                ("eth_getLogs", [{**self._filter, "blockHash": "0x" + header.ref.hash.hex()}])
                for header in headers
            ]
        )
        return [
            _parse_logs(answer, header.ref.number, header.ref.number)
            for header, answer in zip(headers, answers, strict=True)
        ]

    async def header(self, tag: str) -> Header:
        """Return one block by its tag or hexadecimal number; errors as for ranges of logs."""
        return _parse_header(await self._rpc.call("eth_getBlockByNumber", [tag, False]), tag)

    async def headers(self, numbers: Sequence[int]) -> list[Header]:
        """Return blocks by their numbers, in order; errors as for ranges of logs."""
        headers: list[Header] = []
        for start in range(0, len(numbers), _HEADERS_AT_ONCE):
            part = numbers[start : start + _HEADERS_AT_ONCE]
            answers = await self._batch([("eth_getBlockByNumber", [hex(each), False]) for each in part])
            found = [_parse_header(answer, hex(each)) for each, answer in zip(part, answers, strict=True)]
            if [each.ref.number for each in found] != list(part):
                raise InconsistentChainError("an endpoint answered with other blocks than those asked for")
            headers += found
        return headers

    async def _batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        answers = await self._rpc.batch(calls)
        for answer in answers:
            if isinstance(answer, RpcError):
                raise answer
        return answers


def _parse_logs(answer: object, first: int, last: int) -> list[Log]:
    """Return the logs of an answer, in the order of the chain."""
    if not isinstance(answer, list):
        raise InconsistentChainError("an endpoint answered eth_getLogs with something that is no list")
    try:
        logs = [parse_log(each) for each in answer]
    except MalformedError as err:
        raise InconsistentChainError(f"an endpoint gave a damaged log: {err}") from err
    places = [(each.block, each.index) for each in logs]
    if len(set(places)) != len(places):
        raise InconsistentChainError("an endpoint gave two logs for one place in a block")
    if any(not first <= each.block <= last for each in logs):
        raise InconsistentChainError("an endpoint gave logs of other blocks than those asked for")
    return sorted(logs, key=lambda each: (each.block, each.index))


def _parse_header(answer: object, tag: str) -> Header:
    if answer is None:
        raise InconsistentChainError(f"an endpoint does not know block {tag}: it may be behind")
    if not isinstance(answer, dict):
        raise InconsistentChainError(f"an endpoint answered for block {tag} with something that is no block")
    try:
        return Header(
            BlockRef(
                parse_quantity(answer.get("number"), "number"), parse_bytes(answer.get("hash"), "hash", 32)
            ),
            parse_bytes(answer.get("parentHash"), "parentHash", 32),
            parse_quantity(answer.get("timestamp"), "timestamp"),
        )
    except MalformedError as err:
        raise InconsistentChainError(f"an endpoint gave a damaged block {tag}: {err}") from err
