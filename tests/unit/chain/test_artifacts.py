from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from eth_hash.auto import keccak

from chain.artifacts import (
    NAMES,
    abi_type,
    artifact,
    decode_call,
    decode_result,
    encode_call,
    encode_creation,
    selector,
    signature,
    topic,
)
from marina.errors import MalformedError

WHO = b"\x11" * 20
ID = b"\x22" * 32


@pytest.mark.parametrize("name", NAMES)
def test_every_contract_of_the_set_ships_whole(name):
    made = artifact(name)
    assert made.name == name
    assert 0 < len(made.deployed) < 24_577, "EIP-170"
    assert len(made.bytecode) > len(made.deployed)
    for start, length in made.immutables:
        assert made.deployed[start : start + length] == bytes(length)
    assert len(made.functions()) == len([each for each in made.abi if each["type"] == "function"])


def test_there_is_no_other_contract():
    with pytest.raises(KeyError, match="Marina has no contract"):
        artifact("Ownable")
    with pytest.raises(KeyError):
        artifact("../pyproject")


def test_selectors_and_topics_are_the_erc20s():
    made = artifact("MarinaToken")
    assert selector(made.function("transfer")).hex() == "a9059cbb"
    (event,) = [each for each in made.abi if each["type"] == "event" and each["name"] == "Transfer"]
    assert topic(event) == keccak(b"Transfer(address,address,uint256)")


def test_structs_are_written_out():
    entry = artifact("TrackRegistry").function("register")
    assert signature(entry) == "register((bytes32,bytes32,bytes32,uint16,(address,uint16)[]))"
    assert abi_type({"type": "tuple[2][]", "components": [{"type": "bool"}]}) == "(bool)[2][]"


def test_a_call_reads_back_as_it_was_written():
    registration = (ID, ID, bytes(32), 500, [(WHO, 10_000)])
    data = encode_call("TrackRegistry", "register", registration)
    entry, (found,) = decode_call("TrackRegistry", data)
    assert entry["name"] == "register"
    assert found == (ID, ID, bytes(32), 500, (("0x" + WHO.hex(), 10_000),))


def test_the_arguments_choose_among_functions_of_one_name():
    made = artifact("MarinaGovernor")
    names = [each["name"] for each in made.abi if each["type"] == "function"]
    (twice,) = {each for each in names if each == "propose" and names.count(each) > 1} or {"queue"}
    with pytest.raises(KeyError, match="functions"):
        made.function("nothing")
    if names.count(twice) > 1:
        with pytest.raises(KeyError, match=f"{names.count(twice)} functions {twice}"):
            made.function(twice)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("transfer", (WHO,)),
        ("transfer", (WHO, -1)),
        ("transfer", (WHO, 2**256)),
        ("transfer", (b"\x11" * 19, 1)),
        ("transfer", ("somebody.eth", 1)),
        ("transfer", (WHO, "1")),
        ("transfer", (None, 1)),
        ("steal", (WHO, 1)),
    ],
)
def test_arguments_that_do_not_fit_are_refused(function, arguments):
    with pytest.raises(ValueError, match="does not take these arguments"):
        encode_call("MarinaToken", function, *arguments)


def test_a_creation_is_the_code_and_its_arguments():
    data = encode_creation("TrackRegistry", WHO)
    assert data == artifact("TrackRegistry").bytecode + bytes(12) + WHO
    with pytest.raises(ValueError, match="the constructor of TrackRegistry does not take"):
        encode_creation("TrackRegistry", WHO, WHO)


def test_data_that_are_no_call_are_said():
    with pytest.raises(KeyError):
        decode_call("MarinaToken", b"\0\0\0\0")
    with pytest.raises(KeyError):
        decode_call("MarinaToken", b"")
    with pytest.raises(MalformedError, match="do not fit transfer"):
        decode_call("MarinaToken", bytes.fromhex("a9059cbb") + b"\1")


def test_random_data_are_decoded_or_said_to_be_malformed():
    rng = Random(2)
    heads = [(name, each) for name in NAMES for each in artifact(name).functions()]
    words = [bytes(32), (32).to_bytes(32), (96).to_bytes(32), b"\xff" * 32, (2**63).to_bytes(32)]
    for _ in range(500):
        name, head = rng.choice(heads)
        body = b"".join(
            rng.choice(words) if rng.random() < 0.7 else rng.randbytes(rng.randrange(40))
            for _ in range(rng.randrange(8))
        )
        entry = artifact(name).functions()[head]
        with suppress(MalformedError):
            decode_call(name, head + body)
        with suppress(MalformedError, KeyError):  # two functions may share name and number of arguments
            decode_result(name, entry["name"], body, len(entry["inputs"]))
