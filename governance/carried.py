"""Calls that carry calls: batches of the timelock, the governor's relay, a proposal within a proposal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from governance.calls import Call
from governance.text import clean_line
from governance.units import format_duration
from marina.ids import Account

Carried: TypeAlias = tuple[str, list[Call]]
"""What the outer call does with them, and the calls."""


def _one_call(verb: str) -> Callable[[tuple[Any, ...]], Carried]:
    def unpack(args: tuple[Any, ...]) -> Carried:
        return verb, [Call(Account(args[0]), args[1], args[2])]

    return unpack


def _many_calls(args: tuple[Any, ...]) -> list[Call]:
    targets, values, payloads = args[:3]
    # Lengths that differ revert on the chain; what is there is shown all the same.
    count = max(len(targets), len(values), len(payloads))
    return [
        Call(
            Account(targets[index]) if index < len(targets) else Account(bytes(20)),
            values[index] if index < len(values) else 0,
            payloads[index] if index < len(payloads) else b"",
        )
        for index in range(count)
    ]


def _schedule(args: tuple[Any, ...]) -> Carried:
    _, calls = _one_call("")(args)
    return f"Queue this call in the timelock, to be executed after {format_duration(args[5])}", calls


def _schedule_batch(args: tuple[Any, ...]) -> Carried:
    text = f"Queue these calls in the timelock, to be executed after {format_duration(args[5])}"
    return text, _many_calls(args)


def _execute_batch(args: tuple[Any, ...]) -> Carried:
    return "Execute these calls of the timelock, if they are queued and due", _many_calls(args)


def _propose(args: tuple[Any, ...]) -> Carried:
    return f"Make another proposal, {clean_line(args[3])!r}, of these calls", _many_calls(args)


CARRIERS: Mapping[tuple[str, str], Callable[[tuple[Any, ...]], Carried]] = {
    ("TimelockController", "schedule"): _schedule,
    ("TimelockController", "scheduleBatch"): _schedule_batch,
    ("TimelockController", "execute"): _one_call(
        "Execute this call of the timelock, if it is queued and due"
    ),
    ("TimelockController", "executeBatch"): _execute_batch,
    ("MarinaGovernor", "relay"): _one_call("Let the governor itself make this call"),
    ("MarinaGovernor", "propose"): _propose,
}
"""How to unfold a function's arguments, by contract and function name."""
