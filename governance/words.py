"""Every call of a proposal in plain words, so that a voter knows what a yes would do.

Nothing is left out: a call that cannot be explained is shown raw, with a warning. A decoder that fails
or is confused by hostile data falls back to the raw form; it never raises and never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chain.amount import format_amount
from chain.artifacts import abi_type, signature
from governance.abi import decode, is_canonical
from governance.calls import Call
from governance.carried import CARRIERS, Carried
from governance.glossary import DecodedCall, Glossary, Line
from governance.parameters import Parameter, Switch, parameter_of_setter, switch_of_setter
from governance.phrases import PHRASES
from governance.text import clean_line

DEPTH_MAX = 4
"""Calls within calls that are unfolded; deeper ones are shown raw."""
LINES_MAX = 256
CALL_BYTES_MAX = 24 * 1024
"""Longest call data that are decoded: pointers that share one tail grow with the square of it."""
DECODED_BYTES_MAX = 4 * CALL_BYTES_MAX
"""Call data decoded for one proposal, nested data counted each time; a bomb of nested batches stops here."""
RAW_SHOWN_BYTES = 256
VALUE_CHARS_MAX = 160
ACCOUNT_BYTES = 20
_UNKNOWN = "Marina does not know what this does: vote for it only if somebody you trust explains it"
_EVERY_TOKEN = frozenset({"transfer", "approve", "transferFrom"})
"""Functions that are the same in every ERC-20 token."""


class _Budget:
    """How much may still be decoded of one proposal."""

    def __init__(self) -> None:
        self._lines = LINES_MAX
        self._size_bytes = DECODED_BYTES_MAX

    def take_data(self, size_bytes: int) -> bool:
        self._size_bytes -= size_bytes
        return self._size_bytes >= 0 and size_bytes <= CALL_BYTES_MAX

    def take_lines(self, count: int) -> bool:
        if count > self._lines:
            return False
        self._lines -= count
        return True


def describe_calls(calls: Sequence[Call], glossary: Glossary) -> tuple[Line, ...]:
    """Return one line for every call, in their order; never raises, whatever the calls hold."""
    budget = _Budget()
    return tuple(_describe(call, glossary, budget, 0) for call in calls)


def render(lines: Sequence[Line], *, indent: str = "") -> str:
    """Return lines as text for a terminal: numbered, warnings marked, inner calls indented."""
    out: list[str] = []
    for number, line in enumerate(lines, start=1):
        out.append(f"{indent}{number}. {line.text}")
        out.extend(f"{indent}   ! {warning}" for warning in line.warnings)
        if line.inner:
            out.append(render(line.inner, indent=indent + "   "))
    return "\n".join(out)


def _describe(call: Call, glossary: Glossary, budget: _Budget, depth: int) -> Line:
    if not call.data:
        return _payment(call, glossary)
    contract = glossary.contract_of(call.target)
    if contract is None or depth > DEPTH_MAX or not budget.take_data(len(call.data)):
        return _raw(call, glossary, "")
    decoded = decode(call, contract)
    if decoded is None:
        return _raw(call, glossary, contract)
    line = _explain(decoded, glossary, budget, depth)
    warnings = list(line.warnings)
    if call.value:
        warnings.append(f"it also sends {format_amount(call.value, glossary.coin)} along")
        if decoded.entry.get("stateMutability") != "payable":
            warnings.append(f"{decoded.function} takes no coins: executing the proposal would fail")
    if decoded.entry.get("stateMutability") in {"view", "pure"}:
        warnings.append("this only reads something and changes nothing")
    if not is_canonical(decoded):
        warnings.append("the call data are written in an unusual way or hold more than the arguments")
    return Line(line.text, call, tuple(warnings), line.inner, line.is_understood)


def _payment(call: Call, glossary: Glossary) -> Line:
    if not call.value:
        text = f"Call {glossary.account(call.target)} without saying anything"
        return Line(text, call, (_UNKNOWN,), is_understood=False)
    amount = format_amount(call.value, glossary.coin)
    return Line(f"Pay {amount} from the treasury to {glossary.account(call.target)}", call)


def _raw(call: Call, glossary: Glossary, contract: str) -> Line:
    target = glossary.account(call.target)
    where = (
        target if contract or glossary.contracts.name_of(call.target) else f"the unknown contract {target}"
    )
    shown = call.data[:RAW_SHOWN_BYTES].hex()
    more = len(call.data) - RAW_SHOWN_BYTES
    tail = f" … and {more} bytes more" if more > 0 else ""
    paid = f" with {format_amount(call.value, glossary.coin)}" if call.value else ""
    return Line(f"Call {where}{paid}, raw data 0x{shown}{tail}", call, (_UNKNOWN,), is_understood=False)


def _explain(decoded: DecodedCall, glossary: Glossary, budget: _Budget, depth: int) -> Line:
    name = (decoded.contract, decoded.function)
    if found := parameter_of_setter(*name):
        return _parameter_line(found, decoded, glossary)
    if switch := switch_of_setter(*name):
        return _switch_line(switch, decoded, glossary)
    is_other_token = decoded.contract == "MarinaToken" and decoded.call.target != glossary.contracts.token
    if is_other_token and decoded.function not in _EVERY_TOKEN:
        return _raw(decoded.call, glossary, decoded.contract)
    if unpack := CARRIERS.get(name):
        return _nested_line(decoded, unpack, glossary, budget, depth)
    if phrase := PHRASES.get(name):
        text, warnings = phrase(decoded, glossary)
        return Line(text, decoded.call, warnings)
    return Line(_generic(decoded, glossary), decoded.call)


def _parameter_line(found: Parameter, decoded: DecodedCall, glossary: Glossary) -> Line:
    value = decoded.args[0]
    now = glossary.current.get(found.key)
    was = "" if now is None else f" (now {found.unit.format(now)})"
    warnings: list[str] = []
    if not found.is_within(value):
        warnings.append(f"outside of {found.range_text()}, {found.why}")
    if now is not None and now == value:
        warnings.append("it already has this value")
    return Line(f"Set {found.title} to {found.unit.format(value)}{was}", decoded.call, tuple(warnings))


def _switch_line(switch: Switch, decoded: DecodedCall, glossary: Glossary) -> Line:
    thing, is_on = decoded.args[0], bool(decoded.args[1])
    shown = glossary.account(thing) if len(thing) == ACCOUNT_BYTES else switch.format(thing)
    return Line((switch.on_words if is_on else switch.off_words).format(shown), decoded.call)


def _nested_line(
    decoded: DecodedCall,
    unpack: Callable[[tuple[Any, ...]], Carried],
    glossary: Glossary,
    budget: _Budget,
    depth: int,
) -> Line:
    text, calls = unpack(decoded.args)
    if not budget.take_lines(len(calls)):
        return _raw(decoded.call, glossary, decoded.contract)
    inner = tuple(_describe(each, glossary, budget, depth + 1) for each in calls)
    return Line(text, decoded.call, ("calls within a call are unusual: read each of them",), inner)


def _generic(decoded: DecodedCall, glossary: Glossary) -> str:
    inputs = decoded.entry["inputs"]
    pairs = zip(inputs, decoded.args, strict=True)
    shown = ", ".join(
        f"{clean_line(each['name']) or abi_type(each)} = {_show(value, glossary)}" for each, value in pairs
    )
    function = f"{decoded.contract}.{decoded.function}"
    return f"Call {function}({shown})" if inputs else f"Call {signature(decoded.entry)} of {decoded.contract}"


def _show(value: Any, glossary: Glossary) -> str:
    if isinstance(value, bytes) and len(value) == ACCOUNT_BYTES:
        return glossary.account(value)
    if isinstance(value, bytes):
        text = f"0x{value[: VALUE_CHARS_MAX // 2].hex()}"
        return text if len(value) * 2 <= VALUE_CHARS_MAX else f"{text} … ({len(value)} bytes)"
    if isinstance(value, tuple | list):
        shown = ", ".join(_show(each, glossary) for each in value[:8])
        return f"[{shown}{f', … ({len(value)} in all)' if len(value) > 8 else ''}]"
    if isinstance(value, str):
        return repr(clean_line(value, chars_max=VALUE_CHARS_MAX))
    return str(value).lower() if isinstance(value, bool) else str(value)
