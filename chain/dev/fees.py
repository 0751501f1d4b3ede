"""What transactions pay: the suggestion for the next one and the history of the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas

from chain.dev.engine import Engine
from chain.dev.formats import quantity

if TYPE_CHECKING:
    from eth.abc import BlockHeaderAPI

TIP_WEI = 10**9
"""Suggested priority fee: 1 gwei, as anvil's; any tip, even 0, is mined at once."""
HISTORY_BLOCKS_MAX = 1024


def next_base_fee(header: BlockHeaderAPI) -> int:
    """Return the base fee of the block after ``header`` (EIP-1559)."""
    fee: int = calculate_expected_base_fee_per_gas(header)
    return fee


def fee_history(
    engine: Engine, count: int, newest: BlockHeaderAPI, percentiles: Sequence[float]
) -> dict[str, Any]:
    """Return the answer of ``eth_feeHistory``.

    Args:
        engine: open.
        count: blocks wanted; cut to 1,024 and to what there is.
        newest: header of the last one.
        percentiles: for each block, which tips to show.
    """
    count = min(count, HISTORY_BLOCKS_MAX, newest.block_number + 1)
    oldest = newest.block_number - count + 1
    headers = [
        engine.chain.get_canonical_block_header_by_number(number)
        for number in range(oldest, newest.block_number + 1)
    ]
    fees = [header.base_fee_per_gas for header in headers]
    fees += [next_base_fee(newest)] if headers else []
    history: dict[str, Any] = {
        "oldestBlock": quantity(max(0, oldest) if headers else 0),
        "baseFeePerGas": [quantity(fee) for fee in fees],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        "baseFeePerBlobGas": ["0x1"] * len(fees),
        "blobGasUsedRatio": [0.0] * len(headers),
    }
    if percentiles:
        # A block has one transaction at most: every percentile is its tip.
        history["reward"] = [[quantity(_tip(engine, header))] * len(percentiles) for header in headers]
    return history


def _tip(engine: Engine, header: BlockHeaderAPI) -> int:
    if not header.gas_used:
        return 0
    (transaction,) = engine.block(header).transactions
    tip: int = min(
        transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - header.base_fee_per_gas
    )
    return tip
