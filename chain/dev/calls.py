"""Executions that change nothing: ``eth_call`` and ``eth_estimateGas``.

A call on the latest block sees its state at the time that a block made now would have, so that on a quiet
chain a licence that has run out is seen to have run out. A call on an older block sees that block's time.
Calls are free: fees and the caller's nonce are not looked at, GASPRICE and BASEFEE read 0.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eth.exceptions import OutOfGas, Revert
from eth.vm.chain_context import ChainContext
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth.vm.spoof import SpoofTransaction
from eth_abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils import ValidationError

from chain.dev.admission import GAS_MAX, INITCODE_BYTES_MAX, least_gas
from chain.dev.engine import Engine
from chain.dev.faults import REFUSED, REVERTED, TIMED_OUT, CallTimeoutError, RpcFault
from chain.dev.overrides import AccountOverride, apply_overrides
from chain.dev.params import CallFields
from chain.dev.vm import CHAIN_ID, DevState, DevVm

if TYPE_CHECKING:
    from eth.abc import BlockHeaderAPI, ComputationAPI

CALL_TIMEOUT_S = 5.0
"""As go-ethereum's ``--rpc.evmtimeout``."""
ESTIMATE_ERROR = 0.015
"""How far above the least possible an estimate may lie, as in go-ethereum."""
_CALL_STIPEND = 2300
_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_PANICS = {
    0x00: "generic panic",
    0x01: "assert(false)",
    0x11: "arithmetic underflow or overflow",
    0x12: "division or modulo by zero",
    0x21: "enum overflow",
    0x22: "invalid encoded storage byte array accessed",
    0x31: "out-of-bounds array access; popping on an empty array",
    0x32: "out-of-bounds access of an array or bytesN",
    0x41: "out of memory",
    0x51: "uninitialized function",
}


def call(
    engine: Engine,
    fields: CallFields,
    header: BlockHeaderAPI,
    deadline_s: float,
    overrides: Sequence[AccountOverride] = (),
) -> bytes:
    """Return what a call returns.

    Args:
        engine: open.
        fields: the call.
        header: of the block whose state it sees.
        deadline_s: moment of ``time.monotonic`` by which it ends.
        overrides: accounts that it sees differently.

    Raises:
        RpcFault: it reverted (with the data), failed, or took too long.
    """
    result, _ = _execute(engine, fields, header, deadline_s, overrides=overrides)
    _raise_if_failed(result)
    return bytes(result.output)


def estimate_gas(engine: Engine, fields: CallFields, header: BlockHeaderAPI, deadline_s: float) -> int:
    """Return a gas limit with which the transaction succeeds, at most 1.5 % above the least.

    Args:
        engine: open.
        fields: the transaction.
        header: of the block whose state it sees.
        deadline_s: moment of ``time.monotonic`` by which the search ends.

    Raises:
        RpcFault: it fails whatever gas it has, or the search took too long.
    """
    high = min(fields.gas or GAS_MAX, GAS_MAX)
    first, used = _execute(engine, replace(fields, gas=high), header, deadline_s)
    if first.is_error and isinstance(first.error, OutOfGas):
        raise RpcFault(REFUSED, f"gas required exceeds allowance ({high})")
    _raise_if_failed(first)
    if not fields.data and not first.msg.code:
        return used  # a transfer to an account that runs nothing: exactly 21,000
    low = used - 1
    # The 63/64 rule: what inner calls may keep back decides; go-ethereum's first guess nearly always fits.
    guess = (used + first.get_gas_refund() + _CALL_STIPEND) * 64 // 63
    if guess < high:
        low, high = _narrowed(engine, fields, header, deadline_s, low, high, guess)
    while high - low > 1 and (high - low) / high > ESTIMATE_ERROR:
        middle = min((high + low) // 2, low * 2)
        low, high = _narrowed(engine, fields, header, deadline_s, low, high, middle)
    return high


def revert_fault(output: bytes) -> RpcFault:
    """Return the answer to a call that reverted: the reason in words where it is a standard one."""
    message = "execution reverted"
    reason = _reason(output)
    return RpcFault(REVERTED, f"{message}: {reason}" if reason else message, "0x" + output.hex())


def _narrowed(
    engine: Engine,
    fields: CallFields,
    header: BlockHeaderAPI,
    deadline_s: float,
    low: int,
    high: int,
    gas: int,
) -> tuple[int, int]:
    result, _ = _execute(engine, replace(fields, gas=gas), header, deadline_s, is_probe=True)
    return (gas, high) if result.is_error else (low, gas)


def _execute(
    engine: Engine,
    fields: CallFields,
    header: BlockHeaderAPI,
    deadline_s: float,
    *,
    is_probe: bool = False,
    overrides: Sequence[AccountOverride] = (),
) -> tuple[ComputationAPI, int]:
    """Return the finished execution and the gas that a transaction would have used."""
    state = _state(engine, header)
    apply_overrides(state, overrides)
    state.deadline_s = min(deadline_s, time.monotonic() + CALL_TIMEOUT_S)
    gas = min(fields.gas or GAS_MAX, GAS_MAX)
    transaction = _transaction(fields, gas, state.get_nonce(fields.sender))
    least = least_gas(fields.data, is_creation=fields.to is None, intrinsic_gas=transaction.intrinsic_gas)
    if gas < least and not is_probe:
        raise RpcFault(REFUSED, f"intrinsic gas too low: gas {gas}, minimum needed {least}")
    if fields.to is None and len(fields.data) > INITCODE_BYTES_MAX:
        raise RpcFault(
            REFUSED, f"max initcode size exceeded: code size {len(fields.data)}, limit {INITCODE_BYTES_MAX}"
        )
    balance = state.get_balance(fields.sender)
    if balance < fields.value:
        raise RpcFault(
            REFUSED,
            f"insufficient funds for gas * price + value: address 0x{fields.sender.hex()} "
            f"have {balance} want {fields.value}",
        )
    try:
        computation = state.apply_transaction(transaction)
    except CallTimeoutError:
        raise RpcFault(TIMED_OUT, f"execution aborted (timeout = {CALL_TIMEOUT_S:g}s)") from None
    except ValidationError as err:
        raise RpcFault(REFUSED, str(err)) from err
    return computation, DevVm.finalize_gas_used(transaction, computation)


def _state(engine: Engine, header: BlockHeaderAPI) -> DevState:
    is_head = header.hash == engine.head().hash
    shown = header.copy(base_fee_per_gas=0, timestamp=engine.now_s() if is_head else header.timestamp)
    hashes = DevVm.get_prev_hashes(header.parent_hash, engine.chain.chaindb)
    made: DevState = DevVm.build_state(engine.database, shown, ChainContext(CHAIN_ID), hashes)
    return made


def _transaction(fields: CallFields, gas: int, nonce: int) -> Any:
    unsigned = PragueTransactionBuilder.new_unsigned_dynamic_fee_transaction(
        chain_id=CHAIN_ID,
        nonce=nonce,
        max_priority_fee_per_gas=0,
        max_fee_per_gas=0,
        gas=gas,
        to=fields.to or b"",
        value=fields.value,
        data=fields.data,
        access_list=fields.access_list,
    )
    return SpoofTransaction(unsigned, from_=fields.sender)


def _raise_if_failed(result: ComputationAPI) -> None:
    if not result.is_error:
        return
    if isinstance(result.error, Revert):
        raise revert_fault(bytes(result.output))
    if isinstance(result.error, OutOfGas):
        raise RpcFault(REFUSED, "out of gas")
    raise RpcFault(REFUSED, f"execution failed: {_sentence(result.error)}")


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text[:200]


def _reason(output: bytes) -> str | None:
    try:
        if output[:4] == _ERROR:
            return str(decode(["string"], output[4:])[0])
        if output[:4] == _PANIC:
            code = int(decode(["uint256"], output[4:])[0])
            return _PANICS.get(code, f"unknown panic code: {code:#x}")
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return None  # not the standard form after all: the raw data are in the answer
    return None
