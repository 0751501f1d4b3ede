"""``eth_getLogs``: what is asked for, and the answer within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain.dev import params
from chain.dev.engine import Engine
from chain.dev.faults import INVALID_PARAMS, LIMIT_EXCEEDED, RpcFault
from chain.dev.formats import log_json

BLOCKS_MAX = 10_000
"""Longest range of one question."""
LOGS_MAX = 10_000
DATA_BYTES_MAX = 16 << 20
"""Most event data of one answer; their hex is twice as long."""
CHOICES_MAX = 256
"""Addresses, or topics of one position."""
_KEYS = {"fromBlock", "toBlock", "blockHash", "address", "topics"}


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs are asked for.

    Attributes:
        first: first block.
        last: last block, not before ``first``.
        addresses: contracts; empty for all.
        topics: per position the allowed values; empty for all.
    """

    first: int
    last: int
    addresses: tuple[bytes, ...]
    topics: tuple[tuple[bytes, ...], ...]


def read_filter(value: object, engine: Engine) -> LogFilter:
    """Return the filter of a request.

    Raises:
        RpcFault: it is malformed, its range is too long, or the block it names is unknown.
    """
    if not isinstance(value, dict) or set(value) - _KEYS:
        raise params.fault("0", "a filter object is needed")
    given = {name: each for name, each in value.items() if each is not None}
    first, last = _range(given, engine)
    if first > last:
        raise RpcFault(INVALID_PARAMS, "invalid block range params")
    if last - first >= BLOCKS_MAX:
        raise RpcFault(INVALID_PARAMS, f"exceed maximum block range: {BLOCKS_MAX}")
    topics = given.get("topics", [])
    if not isinstance(topics, list) or len(topics) > 4:
        raise params.fault("topics", "a list of at most 4 positions is needed")
    return LogFilter(
        first,
        last,
        _choices(given.get("address"), "address", params.address),
        tuple(_choices(each, "topics", params.hash32) for each in topics),
    )


def find_logs(engine: Engine, wanted: LogFilter) -> list[dict[str, Any]]:
    """Return the logs of a filter in the chain's order.

    Raises:
        RpcFault: there are too many.
    """
    where, values = ["number BETWEEN ? AND ?"], [wanted.first, wanted.last]
    columns = [("address", wanted.addresses)]
    columns += [(f"topic{position}", choices) for position, choices in enumerate(wanted.topics)]
    bound: list[Any] = list(values)
    for column, choices in columns:
        if choices:
            where.append(f"{column} IN ({','.join('?' * len(choices))})")
            bound += choices
    found: list[dict[str, Any]] = []
    size = 0
    # A filter of n positions matches logs with at least n topics, whatever they are.
    if wanted.topics:
        where.append(f"topic{len(wanted.topics) - 1} IS NOT NULL")
    for row in engine.store.select_logs(" AND ".join(where), bound, LOGS_MAX + 1):
        size += len(row[7])
        if len(found) == LOGS_MAX or size > DATA_BYTES_MAX:
            raise RpcFault(
                LIMIT_EXCEEDED, f"query returned more than {LOGS_MAX} results: ask for fewer blocks"
            )
        found.append(log_json(row))
    return found


def block_logs(engine: Engine, number: int) -> list[dict[str, Any]]:
    """Return all logs of one block; a block's gas bounds them."""
    return [log_json(row) for row in engine.store.select_logs("number = ?", [number], -1)]


def _range(given: dict[str, Any], engine: Engine) -> tuple[int, int]:
    if "blockHash" in given:
        if "fromBlock" in given or "toBlock" in given:
            raise params.fault("0", "blockHash excludes fromBlock and toBlock")
        header = engine.header(params.BlockRef(block_hash=params.hash32(given["blockHash"], "blockHash")))
        if header is None:
            raise RpcFault(INVALID_PARAMS, "unknown block")
        return header.block_number, header.block_number
    head = engine.head().block_number
    first = _height(given.get("fromBlock"), head)
    last = _height(given.get("toBlock"), head)
    # What lies beyond the head has no logs: it counts for no limit.
    return first, min(last, max(first, head))


def _height(value: object, head: int) -> int:
    ref = params.block(value)
    if ref.number is not None:
        return ref.number
    if ref.block_hash is not None:
        raise params.fault("fromBlock", "a number or a tag is needed")
    return 0 if ref.tag == "earliest" else head


def _choices(value: object, what: str, read: Callable[[object, str], bytes]) -> tuple[bytes, ...]:
    if value is None:
        return ()
    found = value if isinstance(value, list) else [value]
    if len(found) > CHOICES_MAX:
        raise RpcFault(INVALID_PARAMS, "exceed max addresses or topics per search position")
    return tuple(read(each, what) for each in found)
