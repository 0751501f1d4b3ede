"""Blocks, transactions, receipts and logs as JSON-RPC shows them (execution-apis)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rlp
from eth._utils.address import generate_contract_address

if TYPE_CHECKING:
    from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI

_CREATION = b""


def quantity(number: int) -> str:
    """Return a number as hex without leading zeros."""
    return hex(number)


def data(raw: bytes) -> str:
    """Return bytes as hex."""
    return "0x" + raw.hex()


def block_json(block: BlockAPI, *, is_full: bool) -> dict[str, Any]:
    """Return a block, with its transactions whole or by hash."""
    header = block.header
    transactions = [
        transaction_json(each, header, index) if is_full else data(each.hash)
        for index, each in enumerate(block.transactions)
    ]
    return {
        "number": quantity(header.block_number),
        "hash": data(header.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(header.bloom.to_bytes(256)),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": data(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": "0x0",
        "extraData": data(header.extra_data),
        "size": quantity(len(rlp.encode(block))),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": data(header.withdrawals_root),
        "withdrawals": [],
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root),
        "requestsHash": data(header.requests_hash),
        "transactions": transactions,
        "uncles": [],
    }


def transaction_json(transaction: SignedTransactionAPI, header: BlockHeaderAPI, index: int) -> dict[str, Any]:
    """Return a mined transaction of type 0, 1 or 2."""
    kind = transaction.type_id or 0
    shown: dict[str, Any] = {
        "blockHash": data(header.hash),
        "blockNumber": quantity(header.block_number),
        "from": data(transaction.sender),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(gas_price(transaction, header)),
        "hash": data(transaction.hash),
        "input": data(transaction.data),
        "nonce": quantity(transaction.nonce),
        "to": None if transaction.to == _CREATION else data(transaction.to),
        "transactionIndex": quantity(index),
        "value": quantity(transaction.value),
        "type": quantity(kind),
        "chainId": quantity(transaction.chain_id),
        "v": quantity(transaction.y_parity if kind else transaction.v),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind:
        shown["yParity"] = quantity(transaction.y_parity)
        shown["accessList"] = [
            {"address": data(each), "storageKeys": [data(slot.to_bytes(32)) for slot in slots]}
            for each, slots in transaction.access_list
        ]
    if kind == 2:
        shown["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        shown["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    return shown


def receipt_json(
    transaction: SignedTransactionAPI, receipt: ReceiptAPI, header: BlockHeaderAPI, logs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the receipt of a transaction that is alone in its block, as all are on this chain."""
    is_creation = transaction.to == _CREATION
    made = generate_contract_address(transaction.sender, transaction.nonce) if is_creation else None
    return {
        "transactionHash": data(transaction.hash),
        "transactionIndex": "0x0",
        "blockHash": data(header.hash),
        "blockNumber": quantity(header.block_number),
        "from": data(transaction.sender),
        "to": None if is_creation else data(transaction.to),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used),
        "contractAddress": None if made is None else data(made),
        "logs": logs,
        "logsBloom": data(receipt.bloom.to_bytes(256)),
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
        "effectiveGasPrice": quantity(gas_price(transaction, header)),
        "type": quantity(transaction.type_id or 0),
    }


def log_json(row: Sequence[Any]) -> dict[str, Any]:
    """Return a log from a row of the store's table ``log``."""
    number, position, address, *topics, payload, transaction_hash, block_hash = row
    return {
        "address": data(address),
        "topics": [data(each) for each in topics if each is not None],
        "data": data(payload),
        "blockNumber": quantity(number),
        "blockHash": data(block_hash),
        "transactionHash": data(transaction_hash),
        "transactionIndex": "0x0",
        "logIndex": quantity(position),
        "removed": False,
    }


def gas_price(transaction: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    """Return what a transaction paid for a unit of gas, in base units (EIP-1559)."""
    price: int = min(
        transaction.max_fee_per_gas, header.base_fee_per_gas + transaction.max_priority_fee_per_gas
    )
    return price
