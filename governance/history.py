"""What only the log knows: the text of a proposal, of which the governor keeps the hash, and past payments.

The chain's index has both at once; this is the way without an index. A proposal was made exactly one
voting delay before its snapshot, so its block is found by its time in some forty requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from chain.artifacts import artifact, topic
from chain.contracts import ContractSet
from chain.events import Event, EventDecoder, parse_log, parse_quantity
from marina.errors import MalformedError, UsageError
from marina.ids import Account, account_text

LOGS_MAX = 10_000
"""Most events of one request."""
CHUNK_BLOCKS = 1_000
CHUNKS_MAX = 200
"""Requests that a look into the past may cost; an index is for more."""


class Caller(Protocol):
    """The part of ``chain.rpc.RpcPool`` that a look-up needs."""

    async def call(self, method: str, params: Sequence[object]) -> Any:
        """Return the result of one JSON-RPC call."""
        ...


async def find_description(
    rpc: Caller, contracts: ContractSet, proposal_id: int, *, snapshot_s: int, delays_s: Sequence[int]
) -> str | None:
    """Return the text that a proposal was made with.

    Args:
        rpc: of the chain.
        contracts: of the chain.
        proposal_id: the governor's number.
        snapshot_s: its snapshot.
        delays_s: voting delays that may have been in force when it was made.

    Returns:
        The raw text; None if it is not where it should be, or is not UTF-8.

    Raises:
        NetworkError: nobody answered.
        MalformedError: the endpoint answers nonsense.
    """
    for delay_s in dict.fromkeys(delays_s):
        blocks = await _blocks_of(rpc, snapshot_s - delay_s)
        found = await _description_in(rpc, contracts, proposal_id, blocks)
        if found is not None:
            return found
    return None


async def executed_calls(rpc: Caller, contracts: ContractSet, *, first_block: int) -> tuple[Event, ...]:
    """Return the timelock's ``CallExecuted`` events, in their order.

    Args:
        rpc: of the chain.
        contracts: of the chain.
        first_block: where to begin, at best the block of the deployment.

    Raises:
        UsageError: there are too many blocks to ask for without an index.
        NetworkError: nobody answered.
        MalformedError: the endpoint answers nonsense.
    """
    head = parse_quantity(await rpc.call("eth_blockNumber", []), "the block number")
    if head - first_block >= CHUNK_BLOCKS * CHUNKS_MAX:
        raise UsageError(
            f"the log has {head - first_block} blocks to read: turn on the chain's index, "
            "or begin at a later block"
        )
    found: list[Event] = []
    for start in range(first_block, head + 1, CHUNK_BLOCKS):
        last = min(start + CHUNK_BLOCKS - 1, head)
        found += await _events(rpc, "TimelockController", "CallExecuted", contracts.timelock, (start, last))
    return tuple(found)


async def block_time_s(rpc: Caller, block: int | str) -> int:
    """Return a block's Unix time; MalformedError if the endpoint does not know the block."""
    answer = await rpc.call("eth_getBlockByNumber", [hex(block) if isinstance(block, int) else block, False])
    if not isinstance(answer, dict):
        raise MalformedError("the endpoint does not know a block that it counted")
    return parse_quantity(answer.get("timestamp"), "timestamp")


async def _blocks_of(rpc: Caller, time_s: int) -> range:
    """Return the numbers of the blocks of exactly this time: none, one, or several on fast chains."""
    head = parse_quantity(await rpc.call("eth_blockNumber", []), "the block number")
    first = await _first_block_from(rpc, time_s, head)
    return range(first, min(await _first_block_from(rpc, time_s + 1, head), first + CHUNK_BLOCKS))


async def _first_block_from(rpc: Caller, time_s: int, head: int) -> int:
    """Return the number of the first block of a time or later; the one behind the head if there is none."""
    low, high = 0, head + 1
    while low < high:
        middle = (low + high) // 2
        if await block_time_s(rpc, middle) < time_s:
            low = middle + 1
        else:
            high = middle
    return low


async def _description_in(rpc: Caller, contracts: ContractSet, proposal_id: int, blocks: range) -> str | None:
    if not blocks:
        return None
    ends = (blocks[0], blocks[-1])
    for event in await _events(rpc, "MarinaGovernor", "ProposalCreated", contracts.governor, ends):
        if event.values["proposalId"] == proposal_id:
            text: str = event.values["description"]
            return text
    return None


async def _events(
    rpc: Caller, contract: str, name: str, address: Account, blocks: tuple[int, int]
) -> list[Event]:
    entry = next(
        each for each in artifact(contract).abi if (each["type"], each.get("name")) == ("event", name)
    )
    wanted = {
        "address": account_text(address),
        "fromBlock": hex(blocks[0]),
        "toBlock": hex(blocks[1]),
        "topics": ["0x" + topic(entry).hex()],
    }
    logs = await rpc.call("eth_getLogs", [wanted])
    if not isinstance(logs, list) or len(logs) > LOGS_MAX:
        raise MalformedError("the endpoint answered no list of logs, or one without end")
    decoder = EventDecoder({contract: address})
    found = []
    for raw in logs:
        try:
            event = decoder.decode(parse_log(raw))
        except MalformedError:
            continue  # a description that is not UTF-8 is somebody's trick; the others still count
        if event is not None:
            found.append(event)
    return found
