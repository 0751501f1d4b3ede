"""Any function of any contract: what is typed arrives, and no text is more than a sentence's trouble."""

from __future__ import annotations

import contextlib
import json

from eth_abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from chain.artifacts import abi_type
from chain.calls import ContractCall, parse_abi, parse_call
from marina.errors import MalformedError, UsageError
from marina.ids import Account, account_text

PLACE = Account(b"\x11" * 20)
BITS = [8 * each for each in range(1, 33)]


def _scalar(kind: str) -> st.SearchStrategy[object]:
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:]) - 1)
    if kind.startswith("int"):
        return st.integers(-(2 ** (int(kind[3:]) - 1)), 2 ** (int(kind[3:]) - 1) - 1)
    if kind == "bool":
        return st.booleans()
    if kind == "address":
        return st.binary(min_size=20, max_size=20).map(lambda each: account_text(Account(each)))
    if kind == "string":
        return st.text(st.characters(codec="utf-8"), max_size=40)
    size = int(kind[5:] or 0)
    plain = st.binary(min_size=size, max_size=size or 70)
    return plain.map(lambda each: "0x" + each.hex())


SCALARS = st.one_of(
    st.sampled_from(BITS).map(lambda bits: f"uint{bits}"),
    st.sampled_from(BITS).map(lambda bits: f"int{bits}"),
    st.sampled_from(["bool", "address", "string", "bytes"]),
    st.integers(1, 32).map(lambda size: f"bytes{size}"),
)


@st.composite
def typed(draw: st.DrawFn, depth: int = 0) -> tuple[dict[str, object], object]:
    """Return (parameter, value as JSON has it)."""
    shape = draw(st.sampled_from(["scalar", "list", "fixed", "struct"])) if depth < 2 else "scalar"
    if shape == "scalar":
        kind = draw(SCALARS)
        return {"type": kind, "name": ""}, draw(_scalar(kind))
    if shape == "struct":
        parts = [draw(typed(depth=depth + 1)) for _ in range(draw(st.integers(1, 3)))]
        components = [{**part, "name": f"m{place}"} for place, (part, _) in enumerate(parts)]
        return {"type": "tuple", "name": "", "components": components}, [value for _, value in parts]
    count = draw(st.integers(1, 3)) if shape == "fixed" else draw(st.integers(0, 3))
    kind = draw(SCALARS)
    values = [draw(_scalar(kind)) for _ in range(count)]
    return {"type": f"{kind}[{count if shape == 'fixed' else ''}]", "name": ""}, values


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (list, bool)) else str(value)


def _plain(value: object) -> object:
    """Return a decoded value as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return "0x" + value.hex() if isinstance(value, bytes) else value


def _lowered(value: object) -> object:
    """Return a value with hex digits in one case: addresses come back without their checksum."""
    if isinstance(value, list):
        return [_lowered(each) for each in value]
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value


def _members(value: object) -> object:
    """Return a shown value with structs as lists and numbers as they are."""
    if isinstance(value, dict):
        return [_members(each) for each in value.values()]
    return [_members(each) for each in value] if isinstance(value, list) else value


def _numbers_as_text(value: object) -> object:
    if isinstance(value, list):
        return [_numbers_as_text(each) for each in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(st.lists(typed(), max_size=4))
def test_what_is_typed_is_what_the_contract_gets_and_what_it_would_answer(
    arguments: list[tuple[dict[str, object], object]],
) -> None:
    parameters = [each for each, _ in arguments]
    entry = {"type": "function", "name": "f", "inputs": parameters, "outputs": parameters}
    call = parse_call(PLACE, parse_abi(json.dumps([entry])), "f", [_text(value) for _, value in arguments])
    kinds = [abi_type(each) for each in parameters]
    data = call.message(PLACE).data
    meant = [value for _, value in arguments]
    assert _lowered(_plain(decode(kinds, data[4:]))) == _lowered(meant)
    answered = ContractCall(PLACE, call.entry, (), ()).shown(encode(kinds, call.values))
    shown = [answered] if len(arguments) == 1 else list(answered.values())
    assert [_members(each) for each in shown] == _numbers_as_text(meant)


WORDS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["0x", "[]", "[[]]", "{}", "null", "[null]", "-0", "0x-1", "1e5", "NaN", "true", "tr_", "rl_"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ).map(json.dumps),
)


@given(typed(), WORDS)
def test_no_text_is_more_than_a_usage_error(argument: tuple[dict[str, object], object], text: str) -> None:
    entry = {"type": "function", "name": "f", "inputs": [argument[0]], "outputs": []}
    abi = parse_abi(json.dumps([entry]))
    with contextlib.suppress(UsageError):
        parse_call(PLACE, abi, "f", [text]).message(PLACE)


@given(WORDS | st.text(max_size=200))
def test_no_text_of_an_abi_is_more_than_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_abi(text)


@given(typed(), st.binary(max_size=300))
def test_no_answer_is_more_than_malformed(output: tuple[dict[str, object], object], answer: bytes) -> None:
    entry = {"type": "function", "name": "f", "inputs": [], "outputs": [output[0]]}
    call = ContractCall(PLACE, parse_abi(json.dumps([entry]))[0], (), ())
    with contextlib.suppress(MalformedError):
        json.dumps(call.shown(answer))
