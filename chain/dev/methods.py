"""The JSON-RPC methods of the development chain: parameters in, JSON out.

Not offered, because this chain has no keys, no pool and no consensus: ``eth_sendTransaction``, ``eth_sign``,
subscriptions and server-side filters, traces, proofs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chain.dev import params
from chain.dev.calls import call, estimate_gas
from chain.dev.engine import Engine
from chain.dev.faucet import Faucet
from chain.dev.faults import REFUSED, RpcFault
from chain.dev.fees import TIP_WEI, fee_history, next_base_fee
from chain.dev.formats import block_json, data, quantity, receipt_json, transaction_json
from chain.dev.logs import block_logs, find_logs, read_filter
from chain.dev.overrides import read_overrides
from chain.dev.vm import CHAIN_ID
from marina import __version__

if TYPE_CHECKING:
    from eth.abc import BlockHeaderAPI, StateAPI

LABEL = "development chain, one operator, no consensus"
CLIENT_VERSION = f"Marina/v{__version__} ({LABEL})"
WRITING = frozenset(
    {"eth_sendRawTransaction", "evm_increaseTime", "evm_setNextBlockTimestamp", "evm_mine", "marina_faucet"}
)
"""Methods that change the chain."""
_TIME_MAX = 2**40
Method = Callable[[Any], Any]


class Methods:
    """The method table over one engine.

    Attributes:
        deadline_s: moment of ``time.monotonic`` by which executions of the present request end.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._faucet = Faucet(engine)
        self.deadline_s = 0.0
        self.table: dict[str, Method] = {
            "web3_clientVersion": self._constant(CLIENT_VERSION),
            "net_version": self._constant(str(CHAIN_ID)),
            "net_listening": self._constant(value=True),
            "eth_chainId": self._constant(quantity(CHAIN_ID)),
            "eth_syncing": self._constant(value=False),
            "eth_accounts": self._constant([]),
            "eth_maxPriorityFeePerGas": self._constant(quantity(TIP_WEI)),
            "eth_gasPrice": self._gas_price,
            "eth_feeHistory": self._fee_history,
            "eth_blockNumber": self._block_number,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getBlockTransactionCountByNumber": self._count_by_number,
            "eth_getBlockTransactionCountByHash": self._count_by_hash,
            "eth_getBalance": self._balance,
            "eth_getCode": self._code,
            "eth_getStorageAt": self._storage,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionByBlockNumberAndIndex": self._transaction_by_number,
            "eth_getTransactionByBlockHashAndIndex": self._transaction_by_hash_and_index,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getLogs": self._logs,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate_gas,
            "eth_sendRawTransaction": self._send,
            "evm_increaseTime": self._increase_time,
            "evm_setNextBlockTimestamp": self._set_next_timestamp,
            "evm_mine": self._mine,
            "marina_faucet": self._give,
        }

    @staticmethod
    def _constant(value: Any) -> Method:
        def answer(given: Any) -> Any:
            params.arguments(given, 0, 0)
            return value

        return answer

    def _known(self, value: object, what: str) -> BlockHeaderAPI:
        header = self._engine.header(params.block(value, what))
        if header is None:
            raise RpcFault(REFUSED, "header not found")
        return header

    def _state(self, value: object) -> StateAPI:
        return self._engine.state_at(self._known(value, "1"))

    def _gas_price(self, given: Any) -> str:
        params.arguments(given, 0, 0)
        return quantity(next_base_fee(self._engine.head()) + TIP_WEI)

    def _fee_history(self, given: Any) -> dict[str, Any]:
        count, newest, percentiles = params.arguments(given, 2, 3)
        header = self._engine.header(params.block(newest, "1"))
        if header is None:
            raise RpcFault(REFUSED, "request beyond head block")
        wanted = params.number(count, "0", 2**64 - 1)
        return fee_history(self._engine, wanted, header, params.percentiles(percentiles))

    def _block_number(self, given: Any) -> str:
        params.arguments(given, 0, 0)
        return quantity(self._engine.head().block_number)

    def _block_by_number(self, given: Any) -> dict[str, Any] | None:
        ref, is_full = params.arguments(given, 1, 2)
        return self._block(params.block(ref, "0"), is_full)

    def _block_by_hash(self, given: Any) -> dict[str, Any] | None:
        block_hash, is_full = params.arguments(given, 1, 2)
        return self._block(params.BlockRef(block_hash=params.hash32(block_hash, "0")), is_full)

    def _block(self, ref: params.BlockRef, is_full: object) -> dict[str, Any] | None:
        if is_full not in (None, True, False):
            raise params.fault("1", "true or false is needed")
        header = self._engine.header(ref)
        return None if header is None else block_json(self._engine.block(header), is_full=bool(is_full))

    def _block_receipts(self, given: Any) -> list[dict[str, Any]] | None:
        (ref,) = params.arguments(given, 1, 1)
        header = self._engine.header(params.block(ref, "0"))
        return None if header is None else self._receipts_of(header)

    def _receipts_of(self, header: BlockHeaderAPI) -> list[dict[str, Any]]:
        transactions = self._engine.block(header).transactions
        receipts = self._engine.receipts(header)
        logs = block_logs(self._engine, header.block_number)
        return [
            receipt_json(transaction, receipt, header, logs)
            for transaction, receipt in zip(transactions, receipts, strict=True)
        ]

    def _count_by_number(self, given: Any) -> str | None:
        (ref,) = params.arguments(given, 1, 1)
        return self._count(params.block(ref, "0"))

    def _count_by_hash(self, given: Any) -> str | None:
        (block_hash,) = params.arguments(given, 1, 1)
        return self._count(params.BlockRef(block_hash=params.hash32(block_hash, "0")))

    def _count(self, ref: params.BlockRef) -> str | None:
        header = self._engine.header(ref)
        return None if header is None else quantity(len(self._engine.block(header).transactions))

    def _balance(self, given: Any) -> str:
        account, ref = params.arguments(given, 1, 2)
        return quantity(self._state(ref).get_balance(params.address(account, "0")))

    def _code(self, given: Any) -> str:
        account, ref = params.arguments(given, 1, 2)
        return data(self._state(ref).get_code(params.address(account, "0")))

    def _storage(self, given: Any) -> str:
        account, slot, ref = params.arguments(given, 2, 3)
        value = self._engine.state_at(self._known(ref, "2")).get_storage(
            params.address(account, "0"), params.slot(slot, "1")
        )
        return data(value.to_bytes(32))

    def _transaction_count(self, given: Any) -> str:
        account, ref = params.arguments(given, 1, 2)
        return quantity(self._state(ref).get_nonce(params.address(account, "0")))

    def _transaction(self, given: Any) -> dict[str, Any] | None:
        (transaction_hash,) = params.arguments(given, 1, 1)
        found = self._engine.find_transaction(params.hash32(transaction_hash, "0"))
        return None if found is None else transaction_json(*found, 0)

    def _transaction_by_number(self, given: Any) -> dict[str, Any] | None:
        ref, index = params.arguments(given, 2, 2)
        return self._transaction_at(params.block(ref, "0"), index)

    def _transaction_by_hash_and_index(self, given: Any) -> dict[str, Any] | None:
        block_hash, index = params.arguments(given, 2, 2)
        return self._transaction_at(params.BlockRef(block_hash=params.hash32(block_hash, "0")), index)

    def _transaction_at(self, ref: params.BlockRef, index: object) -> dict[str, Any] | None:
        position = params.number(index, "1", 2**64 - 1)
        header = self._engine.header(ref)
        transactions = () if header is None else self._engine.block(header).transactions
        if header is None or position >= len(transactions):
            return None
        return transaction_json(transactions[position], header, position)

    def _receipt(self, given: Any) -> dict[str, Any] | None:
        (transaction_hash,) = params.arguments(given, 1, 1)
        found = self._engine.find_transaction(params.hash32(transaction_hash, "0"))
        return None if found is None else self._receipts_of(found[1])[0]

    def _logs(self, given: Any) -> list[dict[str, Any]]:
        (wanted,) = params.arguments(given, 1, 1)
        return find_logs(self._engine, read_filter(wanted, self._engine))

    def _call(self, given: Any) -> str:
        fields, ref, overrides = params.arguments(given, 1, 3)
        header = self._known(ref, "1")
        replaced = read_overrides(overrides)
        return data(call(self._engine, params.call(fields), header, self.deadline_s, replaced))

    def _estimate_gas(self, given: Any) -> str:
        fields, ref, overrides = params.arguments(given, 1, 3)
        self._no_overrides(overrides)
        header = self._known(ref, "1")
        return quantity(estimate_gas(self._engine, params.call(fields), header, self.deadline_s))

    @staticmethod
    def _no_overrides(value: object) -> None:
        if value not in (None, {}):
            raise params.fault("2", "state overrides are not supported")

    def _send(self, given: Any) -> str:
        (raw,) = params.arguments(given, 1, 1)
        return data(self._engine.send(params.data(raw, "0")))

    def _increase_time(self, given: Any) -> int:
        (seconds,) = params.arguments(given, 1, 1)
        return self._engine.travel(params.number(seconds, "0", _TIME_MAX))

    def _set_next_timestamp(self, given: Any) -> None:
        (timestamp_s,) = params.arguments(given, 1, 1)
        self._engine.choose_timestamp(params.number(timestamp_s, "0", _TIME_MAX))

    def _mine(self, given: Any) -> str:
        (count,) = params.arguments(given, 0, 1)
        self._engine.mine(1 if count is None else params.number(count, "0", 2**64 - 1))
        return "0x0"

    def _give(self, given: Any) -> str:
        account, wei = params.arguments(given, 1, 2)
        amount = None if wei is None else params.quantity(wei, "1")
        return data(self._faucet.give(params.address(account, "0"), amount))
