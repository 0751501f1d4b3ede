"""What a proposal would do, tried before the vote on the state that the chain has now.

All calls are made as the timelock inside one ``eth_call`` (``governance.runner``), and everything that
the DAO governs is read before and after in the same call. Nothing is sent. A node that cannot replace
code for a call gets the calls one by one, each on the present state; the result says so.

It is a trial on today's state: what is true at the execution, days later, may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from eth_hash.auto import keccak

from chain.amount import format_amount
from chain.errors import RpcError
from chain.events import parse_bytes
from chain.revert import is_revert, reverted
from governance import runner
from governance.abi import parse_wei
from governance.calls import Call
from governance.glossary import Glossary, Line
from governance.text import clean_line
from governance.views import views_for
from governance.words import describe_calls
from marina.errors import MalformedError
from marina.ids import Account, account_text

_GOVERNANCE_CALL_SLOT = 5
"""Of ``Governor._governanceCall`` (a test compares it with the compiler's storage layout)."""


class Caller(Protocol):
    """The part of ``chain.rpc.RpcPool`` that a trial needs."""

    async def call(self, method: str, params: Sequence[object]) -> Any:
        """Return the result of one JSON-RPC call; RpcError if the node refuses."""
        ...


class Method(Enum):
    """How the calls were tried."""

    TOGETHER = "together"
    ONE_BY_ONE = "one by one"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one call.

    Attributes:
        line: the call in words.
        is_done: whether it went through; None if this endpoint cannot tell.
        reason: why not, one clean line.
    """

    line: Line
    is_done: bool | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that would be different afterwards.

    Attributes:
        title: what it is.
        before: its value now.
        after: its value after all calls.
    """

    title: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Effect:
    """The whole trial.

    Attributes:
        method: how it was made; only calls made together show changes.
        trials: one for each call.
        changes: what would be different; empty if a call fails, as then none of them takes effect.
    """

    method: Method
    trials: tuple[Trial, ...]
    changes: tuple[Change, ...]

    @property
    def would_fail(self) -> bool:
        """Whether executing the proposal now would fail and change nothing."""
        return any(each.is_done is False for each in self.trials)

    def sentence(self) -> str:
        """Return the outcome in one sentence."""
        for number, each in enumerate(self.trials, start=1):
            if each.is_done is False:
                return f"executed now, it would fail at call {number} and change nothing: {each.reason}"
        if self.method is Method.ONE_BY_ONE:
            return (
                "this endpoint tries calls only one by one: each was tried on the present state, and what "
                "they change together is not known; another endpoint may show it"
            )
        if not self.changes:
            return "executed now, it would go through and change nothing that the DAO governs"
        return f"executed now, it would go through and change {len(self.changes)} things"


async def try_calls(rpc: Caller, calls: Sequence[Call], glossary: Glossary) -> Effect:
    """Return what the calls would do if the timelock made them now.

    Raises:
        NetworkError: nobody answered.
        RpcError: the endpoint refused even a plain call.
    """
    lines = describe_calls(calls, glossary)
    views = views_for(calls, glossary)
    reads = [each.call for each in views]
    try:
        answers = await _run(rpc, [*reads, *calls, *reads], calls, glossary)
    except (RpcError, MalformedError):
        alone = [await _try_alone(rpc, call, line, glossary) for call, line in zip(calls, lines, strict=True)]
        return Effect(Method.ONE_BY_ONE, await _with_funds(rpc, alone, glossary), ())
    count = len(views)
    before, done, after = answers[:count], answers[count:-count], answers[-count:]
    trials = tuple(_trial(line, answer) for line, answer in zip(lines, done, strict=True))
    if not all(answer.is_done for answer in done):
        return Effect(Method.TOGETHER, await _with_funds(rpc, trials, glossary), ())
    pairs = [
        Change(view.title, view.shown(was), view.shown(will))
        for view, was, will in zip(views, before, after, strict=True)
    ]
    return Effect(Method.TOGETHER, trials, tuple(each for each in pairs if each.before != each.after))


async def _run(
    rpc: Caller, script: Sequence[Call], calls: Sequence[Call], glossary: Glossary
) -> tuple[runner.Answer, ...]:
    timelock, governor = glossary.contracts.timelock, glossary.contracts.governor
    code = parse_bytes(await rpc.call("eth_getCode", [account_text(timelock), "latest"]), "code")
    changed = runner.overrides(timelock, code, {governor: _announced(calls, governor)})
    outer = {
        "from": account_text(runner.CALLER),
        "to": account_text(timelock),
        "data": "0x" + runner.encode_script(script).hex(),
    }
    answer = await rpc.call("eth_call", [outer, "latest", changed])
    return runner.decode_answers(parse_bytes(answer, "the answer"), len(script))


def _announced(calls: Sequence[Call], governor: Account) -> dict[bytes, bytes]:
    """Return the governor's storage as ``execute`` leaves it before the calls.

    The governor accepts a change of itself only if the proposal that is being executed holds it; it
    notes those calls in a queue first (Governor.execute, DoubleEndedQueue.Bytes32Deque).
    """
    noted = [bytes(keccak(each.data)) for each in calls if each.target == governor]
    slots = {_GOVERNANCE_CALL_SLOT.to_bytes(32): len(noted).to_bytes(16) + bytes(16)}
    for index, item in enumerate(noted):
        key = index.to_bytes(32) + (_GOVERNANCE_CALL_SLOT + 1).to_bytes(32)
        slots[bytes(keccak(key))] = item
    return slots


async def _try_alone(rpc: Caller, call: Call, line: Line, glossary: Glossary) -> Trial:
    if call.target == glossary.contracts.governor:
        return Trial(line, None, "the governor accepts it only while a proposal is executed")
    fields = {
        "from": account_text(glossary.contracts.timelock),
        "to": account_text(call.target),
        "value": hex(call.value),
        "data": "0x" + call.data.hex(),
    }
    try:
        await rpc.call("eth_call", [fields, "latest"])
    except RpcError as err:
        if is_revert(err):
            return Trial(line, False, clean_line(str(reverted(err))))
        return Trial(line, None, clean_line(str(err)))
    return Trial(line, True)


async def _with_funds(rpc: Caller, trials: Sequence[Trial], glossary: Glossary) -> tuple[Trial, ...]:
    """Return the trials; those that fail because the treasury is empty say so, as the EVM does not."""
    asked = [account_text(glossary.contracts.timelock), "latest"]
    held = parse_wei(await rpc.call("eth_getBalance", asked))
    found = []
    paid = 0
    for each in trials:
        paid += each.line.call.value
        if each.line.call.value and paid > held and each.is_done is not True:
            reason = f"the treasury holds only {format_amount(held, glossary.coin)}"
            found.append(Trial(each.line, False, reason))
        else:
            found.append(each)
    return tuple(found)


def _trial(line: Line, answer: runner.Answer) -> Trial:
    if answer.is_done:
        return Trial(line, True)
    error = RpcError(3, "execution reverted", answer.data)
    return Trial(line, False, clean_line(str(reverted(error))))
