"""The text of a proposal, looked up in the log: the governor keeps only its hash.

The chain's index has it at once; this is the way without an index. A proposal was made exactly one
voting delay before its snapshot, so its block is found by its time in some twenty requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from chain.artifacts import artifact, topic
from chain.contracts import ContractSet
from chain.events import EventDecoder, parse_log, parse_quantity
from marina.errors import MalformedError
from marina.ids import account_text

_LOGS_MAX = 1_000


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
        made_s = snapshot_s - delay_s
        block = await _first_block_at(rpc, made_s)
        if block is None:
            continue
        found = await _description_in(rpc, contracts, proposal_id, block)
        if found is not None:
            return found
    return None


async def block_time_s(rpc: Caller, block: int | str) -> int:
    """Return a block's Unix time; MalformedError if the endpoint does not know the block."""
    answer = await rpc.call("eth_getBlockByNumber", [hex(block) if isinstance(block, int) else block, False])
    if not isinstance(answer, dict):
        raise MalformedError("the endpoint does not know a block that it counted")
    return parse_quantity(answer.get("timestamp"), "timestamp")


async def _first_block_at(rpc: Caller, time_s: int) -> int | None:
    """Return the number of the first block of a time or later if it is exactly of that time."""
    low, high = 0, parse_quantity(await rpc.call("eth_blockNumber", []), "the block number")
    while low < high:
        middle = (low + high) // 2
        if await block_time_s(rpc, middle) < time_s:
            low = middle + 1
        else:
            high = middle
    return low if await block_time_s(rpc, low) == time_s else None


async def _description_in(rpc: Caller, contracts: ContractSet, proposal_id: int, block: int) -> str | None:
    entry = next(each for each in artifact("MarinaGovernor").abi if each.get("name") == "ProposalCreated")
    wanted = {
        "address": account_text(contracts.governor),
        "fromBlock": hex(block),
        "toBlock": hex(block),
        "topics": ["0x" + topic(entry).hex()],
    }
    logs = await rpc.call("eth_getLogs", [wanted])
    if not isinstance(logs, list) or len(logs) > _LOGS_MAX:
        raise MalformedError("the endpoint answered no list of logs")
    decoder = EventDecoder({"MarinaGovernor": contracts.governor})
    for raw in logs:
        try:
            event = decoder.decode(parse_log(raw))
        except MalformedError:
            continue  # a description that is not UTF-8 is somebody's trick; others of the block still count
        if event is not None and event.values["proposalId"] == proposal_id:
            text: str = event.values["description"]
            return text
    return None
