from __future__ import annotations

from random import Random
from string import Formatter

import pytest
from eth_abi import encode

from chain.artifacts import NAMES, abi_type, artifact, selector
from chain.errors import RpcError
from chain.revert import is_revert, reverted
from chain.revert_words import WORDS

ERRORS = {each["name"]: each for name in NAMES for each in artifact(name).abi if each["type"] == "error"}
SAMPLES = {
    "address": "0x" + "ab" * 20,
    "bytes32": b"\xcd" * 32,
    "string": "{caller} {0} {!r} \x1b[31m\n" + "x" * 500,
}


def sample(kind):
    return SAMPLES.get(kind, 7)


def refusal(data, message="execution reverted", code=3):
    return reverted(RpcError(code, message, data))


def test_every_error_of_every_contract_has_words_and_no_others_have():
    assert set(WORDS) == set(ERRORS)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_an_error_of_our_contracts_is_told_in_a_sentence(name):
    entry = ERRORS[name]
    kinds = [abi_type(each) for each in entry["inputs"]]
    arguments = [sample(kind) for kind in kinds]
    found = refusal(selector(entry) + encode(kinds, arguments))
    assert found.name == name
    assert found.arguments == tuple(arguments)
    assert found.reason.startswith("the contract refused: ")
    named = {part for _, part, _, _ in Formatter().parse(WORDS[name]) if part}
    assert named <= {each["name"] for each in entry["inputs"]}
    assert found.reason.isprintable()
    assert "{" not in found.reason.replace("{caller}", "").replace("{0}", "").replace("{!r}", "")


def test_amounts_stand_in_the_sentence():
    entry = ERRORS["PriceAboveMaximum"]
    found = refusal(selector(entry) + encode(["uint256", "uint256"], [5, 3]))
    assert str(found) == "the contract refused: it costs 5, more than the 3 that were agreed to"


def test_reasons_and_panics_of_any_contract_are_read():
    text = bytes.fromhex("08c379a0") + encode(["string"], ["not\ntoday \x1b[2J"])
    assert refusal(text).reason == "the contract refused: not today  [2J"
    panic = bytes.fromhex("4e487b71")
    assert refusal(panic + (0x11).to_bytes(32)).reason.endswith("a number is too large or too small")
    assert refusal(panic + (0x99).to_bytes(32)).reason.endswith("fault 0x99")


@pytest.mark.parametrize(
    ("data", "message", "words"),
    [
        (None, "execution reverted", "it gave no reason"),
        (b"", "execution reverted: paused", "paused"),
        (b"\1\2\3", "VM Exception\x00", "VM Exception"),
        (b"\xde\xad\xbe\xef", "execution reverted", "an error of its own (0xdeadbeef)"),
        (bytes.fromhex("08c379a0"), "execution reverted", "an error that cannot be read"),
        (bytes.fromhex("4e487b71") + b"\0", "execution reverted", "an error that cannot be read"),
    ],
)
def test_a_refusal_without_readable_reason_says_so(data, message, words):
    assert words in refusal(data, message).reason


def test_a_reason_is_bounded():
    text = bytes.fromhex("08c379a0") + encode(["string"], ["x" * 3000])
    assert len(refusal(text).reason) < 350


@pytest.mark.parametrize(
    ("err", "expected"),
    [
        (RpcError(3, "execution reverted"), True),
        (RpcError(-32000, "Execution Reverted: no"), True),
        (RpcError(-32000, "x", b""), True),
        (RpcError(-32000, "header not found"), False),
        (RpcError(-32602, "invalid argument"), False),
    ],
)
def test_a_refusal_of_a_contract_is_told_from_one_of_the_endpoint(err, expected):
    assert is_revert(err) is expected


def test_random_data_never_raise_and_always_say_something():
    rng = Random(11)
    heads = [selector(each) for each in ERRORS.values()]
    heads += [bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")]
    words = [bytes(32), (32).to_bytes(32), (64).to_bytes(32), b"\xff" * 32, (2**255).to_bytes(32)]
    for _ in range(20_000):
        body = b"".join(
            rng.choice(words) if rng.random() < 0.6 else rng.randbytes(rng.randrange(40))
            for _ in range(rng.randrange(6))
        )
        found = refusal(rng.choice(heads) + body)
        assert found.reason.startswith("the contract refused")
        assert found.reason.isprintable()
