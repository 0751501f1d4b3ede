"""Calls made as the timelock inside one ``eth_call``, so that the later ones see what the earlier did.

Nodes let the caller of ``eth_call`` replace the code of accounts for that one call (state overrides;
geth, erigon, nethermind, anvil and Marina's development chain do). The timelock's code is replaced by the
runner below, which makes the calls of a script in order and returns what each answered. Storage and
balances stay the timelock's own, and the contracts that are called see the timelock as their caller.

What the runner itself receives from contracts, the timelock's own functions for instance, it hands on to
the timelock's real code, kept at another address for the time of the call, by DELEGATECALL.

Source: Ethereum yellow paper, appendix H (instructions); go-ethereum's documentation of eth_call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_hash.auto import keccak

from governance.calls import Call
from marina.errors import MalformedError
from marina.ids import Account, account_text

ANSWER_BYTES_MAX = 4096
"""Most bytes kept of one answer; a hostile contract may answer without end."""
_HEAD_BYTES = 64
_CODES = {
    "ADD": 0x01, "MUL": 0x02, "LT": 0x10, "GT": 0x11, "EQ": 0x14, "ISZERO": 0x15, "XOR": 0x18,
    "BALANCE": 0x31, "ORIGIN": 0x32, "CALLER": 0x33, "CALLDATALOAD": 0x35, "CALLDATASIZE": 0x36,
    "CALLDATACOPY": 0x37, "RETURNDATASIZE": 0x3D, "RETURNDATACOPY": 0x3E, "POP": 0x50, "MSTORE": 0x52,
    "JUMP": 0x56, "JUMPI": 0x57, "GAS": 0x5A, "JUMPDEST": 0x5B, "DUP1": 0x80, "DUP2": 0x81, "DUP3": 0x82,
    "DUP4": 0x83, "DUP5": 0x84, "DUP6": 0x85, "DUP7": 0x86, "SWAP1": 0x90, "SWAP2": 0x91, "CALL": 0xF1,
    "RETURN": 0xF3, "DELEGATECALL": 0xF4, "REVERT": 0xFD,
}  # fmt: skip
_PUSH1 = 0x60

_RUNNER = """
    CALLER ORIGIN EQ @run JUMPI                 ; only the outer call brings a script

    CALLDATASIZE 00 00 CALLDATACOPY             ; anything else is for the timelock
    00 00 CALLDATASIZE 00 {home} GAS DELEGATECALL
    RETURNDATASIZE 00 00 RETURNDATACOPY
    @done JUMPI
    RETURNDATASIZE 00 REVERT
    :done RETURNDATASIZE 00 RETURN

    :run 00 00                                  ; out, in: where to write, where to read
    :loop DUP1 CALLDATASIZE GT ISZERO @end JUMPI
    DUP1 40 ADD CALLDATALOAD                    ; out in length
    DUP1 DUP3 60 ADD DUP5 CALLDATACOPY          ; the data of the call go to memory at out
    00 00 DUP3 DUP6 DUP6 20 ADD CALLDATALOAD DUP7 CALLDATALOAD GAS CALL
    DUP4 MSTORE                                 ; whether it succeeded
    ADD 60 ADD                                  ; out in'
    {most} RETURNDATASIZE                       ; the shorter of both
    DUP2 DUP2 LT DUP3 DUP3 XOR MUL SWAP1 POP XOR
    DUP1 DUP4 20 ADD MSTORE                     ; how much it answered
    DUP1 00 DUP5 40 ADD RETURNDATACOPY
    40 ADD SWAP1 SWAP2 ADD SWAP1                ; out' in'
    @loop JUMP
    :end POP 00 RETURN
"""
_BALANCE_READER = "00 CALLDATALOAD BALANCE 00 MSTORE 20 00 RETURN"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of a script did.

    Attributes:
        is_done: False if it was reverted.
        data: what it returned, or the reason of the revert; at most 4,096 bytes.
    """

    is_done: bool
    data: bytes


def _place(name: str) -> Account:
    return Account(bytes(keccak(f"marina simulation {name}".encode())[12:]))


CALLER = _place("caller")
"""Who makes the outer call; nobody has its key."""
HOME = _place("timelock")
"""Where the timelock's code stays for the time of the call."""
BALANCE_READER = _place("balance")
"""Answers the balance of the account in its 32 bytes of data."""


def balance_call(account: Account) -> Call:
    """Return the call of a script that reads an account's coins."""
    return Call(BALANCE_READER, 0, bytes(12) + account)


def encode_script(calls: Sequence[Call]) -> bytes:
    """Return the data of the outer call: for each call target, value, length (32 bytes each) and data."""
    return b"".join(
        bytes(12) + each.target + each.value.to_bytes(32) + len(each.data).to_bytes(32) + each.data
        for each in calls
    )


def decode_answers(data: bytes, count: int) -> tuple[Answer, ...]:
    """Return what each call of a script answered.

    Raises:
        MalformedError: these are not the answers of a script with so many calls: the node did not
            replace the code.
    """
    answers: list[Answer] = []
    position = 0
    while position < len(data) and len(answers) < count:
        done = int.from_bytes(data[position : position + 32])
        size_bytes = int.from_bytes(data[position + 32 : position + _HEAD_BYTES])
        position += _HEAD_BYTES
        if done > 1 or size_bytes > ANSWER_BYTES_MAX or position + size_bytes > len(data):
            break
        answers.append(Answer(bool(done), data[position : position + size_bytes]))
        position += size_bytes
    if len(answers) != count or position != len(data):
        raise MalformedError("the endpoint did not run the simulation")
    return tuple(answers)


def overrides(
    timelock: Account, timelock_code: bytes, storage: Mapping[Account, Mapping[bytes, bytes]]
) -> dict[str, Any]:
    """Return the third parameter of ``eth_call``.

    Args:
        timelock: whose calls are tried.
        timelock_code: its real code.
        storage: storage slots to replace, for each account.
    """
    codes = {
        timelock: _assemble(_RUNNER.format(home="#" + HOME.hex(), most=f"#{ANSWER_BYTES_MAX:04x}")),
        HOME: timelock_code,
        BALANCE_READER: _assemble(_BALANCE_READER),
    }
    changed: dict[str, Any] = {account_text(who): {"code": "0x" + code.hex()} for who, code in codes.items()}
    for who, slots in storage.items():
        diff = {"0x" + key.hex(): "0x" + value.hex() for key, value in slots.items()}
        changed.setdefault(account_text(who), {})["stateDiff"] = diff
    return changed


@cache
def _assemble(source: str) -> bytes:
    """Return the code of instructions: names, one-byte hex, ``#hex`` of any width, ``:label``, ``@label``."""
    tokens = [token for line in source.splitlines() for token in line.partition(";")[0].split()]
    code = bytearray()
    labels: dict[str, int] = {}
    holes: list[tuple[int, str]] = []
    for token in tokens:
        if token in _CODES:
            code.append(_CODES[token])
        elif token.startswith(":"):
            labels[token[1:]] = len(code)
            code.append(_CODES["JUMPDEST"])
        elif token.startswith("@"):
            code += bytes((_PUSH1, 0))
            holes.append((len(code) - 1, token[1:]))
        else:
            value = bytes.fromhex(token.removeprefix("#"))
            code += bytes((_PUSH1 + len(value) - 1,)) + value
    for position, label in holes:
        code[position] = labels[label]
    return bytes(code)
