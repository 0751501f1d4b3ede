"""Functions typed by a person: what fits goes in as it was meant, and nothing else gets further."""

from __future__ import annotations

import json

import pytest
from eth_abi import decode, encode

from chain.artifacts import NAMES, artifact, selector
from chain.calls import ANSWER_BYTES_MAX, ContractCall, parse_abi, parse_call, views
from marina.errors import MalformedError, UsageError
from marina.ids import Account, TrackId, account_text, track_text

PLACE = Account(b"\x11" * 20)
SPLIT = {
    "type": "tuple",
    "components": [{"type": "address", "name": "account"}, {"type": "uint16", "name": "bps"}],
}


def an_abi(*inputs, outputs=(), name="f"):
    """Return the JSON of an ABI with one function; a type stands for a parameter of this type."""

    def parameters(kinds):
        return [each if isinstance(each, dict) else {"type": each, "name": ""} for each in kinds]

    entry = {"type": "function", "name": name, "stateMutability": "view"}
    return json.dumps([{**entry, "inputs": parameters(inputs), "outputs": parameters(outputs)}])


def data_of(kind, typed):
    """Return what follows the selector when one argument was typed."""
    return parse_call(PLACE, parse_abi(an_abi(kind)), "f", [typed]).message(PLACE).data[4:]


def shown(kind, answer):
    """Return how an answer of one value is shown."""
    return ContractCall(PLACE, parse_abi(an_abi(outputs=[kind]))[0], (), ()).shown(answer)


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [
        ("uint256", "0", 0),
        (
            "uint256",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            2**256 - 1,
        ),
        ("uint8", "0xff", 255),
        ("int8", "-128", -128),
        ("bool", "true", True),
        ("bool", "false", False),
        ("address", account_text(PLACE), account_text(PLACE).lower()),
        ("bytes", "0x", b""),
        ("bytes", "0xABcd", b"\xab\xcd"),
        ("bytes4", "0x01020304", b"\x01\x02\x03\x04"),
        ("string", "für Elise", "für Elise"),
        ("string", "", ""),
        ("uint256[]", "[]", ()),
        ("uint256[]", '[1, "2", "0x3"]', (1, 2, 3)),
        ("uint16[2]", "[1, 2]", (1, 2)),
        ("uint8[2][]", "[[1, 2], [3, 4]]", ((1, 2), (3, 4))),
        ("bool[]", '[true, "false"]', (True, False)),
        ("string[]", '["a", "[1]"]', ("a", "[1]")),
    ],
)
def test_what_is_typed_is_what_the_contract_gets(kind, typed, meant):
    assert decode([kind], data_of(kind, typed)) == (meant,)


def test_ids_may_be_written_as_people_see_them():
    number = TrackId(bytes(range(32)))
    assert data_of("bytes32", track_text(number)) == number
    assert data_of("bytes32[]", json.dumps([track_text(number)])).endswith(number)


def test_structs_are_lists_in_the_order_of_their_members():
    data = data_of({**SPLIT, "type": "tuple[]"}, json.dumps([[account_text(PLACE), 900]]))
    assert decode(["(address,uint16)[]"], data) == (((account_text(PLACE).lower(), 900),),)


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        ("uint256", ""),
        ("uint256", "1_000"),
        ("uint256", "\u0663"),
        ("uint256", "1.0"),
        ("uint256", "1e18"),
        ("uint256", "1" * 5000),
        ("uint256", "-1"),
        ("uint8", "256"),
        ("uint256", "0x"),
        ("bool", "True"),
        ("bool", "1"),
        ("address", "main"),
        ("address", "0x1111"),
        ("address", account_text(Account(b"\xab" * 20)).swapcase().replace("X", "x")),
        ("bytes", "12"),
        ("bytes", "0x1"),
        ("bytes", "0x 00"),
        ("bytes4", "0x00"),
        ("bytes32", "tr_aaaaaa"),
        ("string", "\ud800"),
        ("string[]", "[5]"),
        ("bytes32[]", "[1]"),
        ("address[]", "[null]"),
        ("bool[]", "[[]]"),
        ("bool[]", "[{}]"),
        ("uint256[]", "[true]"),
        ("uint256[]", "[1.5]"),
        ("uint256[]", "{}"),
        ("uint256[]", "1"),
        ("uint256[2]", "[1]"),
        ("uint256[]", "[" * 5000),
        (SPLIT, "[]"),
        (SPLIT, '{"account": "0x1111111111111111111111111111111111111111", "bps": 1}'),
    ],
)
def test_what_is_not_of_the_type_is_a_sentence(kind, typed):
    with pytest.raises(UsageError):
        data_of(kind, typed)


@pytest.mark.parametrize(
    "text",
    [
        "", "5", "null", '"x"', "[]", "{}", "[5]", '{"abi": 5}', '{"abi": {}}', "[" * 100_000,
        '[{"type": "function"}]',
        '[{"type": "function", "name": 5, "inputs": []}]',
        '[{"type": "function", "name": "f", "inputs": 5}]',
        '[{"type": "function", "name": "f", "inputs": [5]}]',
        '[{"type": "function", "name": "f", "inputs": [], "outputs": 5}]',
        '[{"type": "function", "name": "f", "inputs": [{"type": "tuple"}]}]',
        '[{"type": "function", "name": "f", "inputs": [{"type": "tuple", "components": []}]}]',
        *(
            json.dumps([{"type": "function", "name": "f", "inputs": [], "outputs": [{"type": kind}]}])
            for kind in (
                "foo", "uint", "uint7", "uint0", "uint264", "bytes0", "bytes33", "uint8[0]", "uint8[-1]",
                "uint8]", "uint8[][", "uint8[99999]", "uint8[][][]", "", " uint8", "uint8\n",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_abi_is_a_sentence(text):
    with pytest.raises(UsageError):
        parse_abi(text)


def test_an_abi_may_be_a_compilers_whole_output():
    assert parse_abi(json.dumps({"abi": json.loads(an_abi("uint8")), "bytecode": "0x"}))[0]["name"] == "f"


def test_a_function_of_several_shapes_is_chosen_by_its_arguments():
    abi = [
        *parse_abi(an_abi("uint8")),
        *parse_abi(an_abi("uint8", "uint8")),
        *parse_abi(an_abi("bool", "bool")),
    ]
    assert parse_call(PLACE, abi, "f", ["1"]).signature == "f(uint8)"
    with pytest.raises(UsageError, match=r"f\(uint8,uint8\)"):
        parse_call(PLACE, abi, "f", ["1", "2"])
    assert parse_call(PLACE, abi, "f(bool,bool)", ["true", "true"]).values == (True, True)
    with pytest.raises(UsageError, match="did you mean 'f'"):
        parse_call(PLACE, abi, "ff", [])
    with pytest.raises(UsageError, match="at most 64"):
        parse_call(PLACE, abi, "f", ["1"] * 65)


def test_answers_are_shown_without_loss():
    outputs = [
        {"type": "address", "name": "who"},
        {"type": "uint256", "name": "count"},
        {"type": "bool", "name": ""},
        {**SPLIT, "type": "tuple[]", "name": "parts"},
    ]
    kinds = ["address", "uint256", "bool", "(address,uint16)[]"]
    answer = encode(kinds, [bytes(PLACE), 2**256 - 1, True, [(bytes(PLACE), 7)]])
    call = ContractCall(PLACE, parse_abi(an_abi(outputs=outputs))[0], (), ())
    assert call.shown(answer) == {
        "who": account_text(PLACE),
        "count": str(2**256 - 1),
        "2": True,
        "parts": [{"account": account_text(PLACE), "bps": "7"}],
    }


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("uint256", b""),
        ("uint256", bytes(31)),
        ("address", b"\xff" * 32),
        ("string", bytes(31) + b"\x20" + bytes(31) + b"\x02" + b"\xff\xfe" + bytes(30)),
        ("uint256[]", bytes(31) + b"\x20" + b"\xff" * 32),
        ("bytes", bytes(ANSWER_BYTES_MAX + 1)),
    ],
)
def test_an_answer_of_another_form_is_malformed(kind, answer):
    with pytest.raises(MalformedError):
        shown(kind, answer)


def test_every_function_of_our_contracts_can_be_typed_and_shown():
    for name in NAMES:
        functions = [each for each in artifact(name).abi if each["type"] == "function"]
        kept = parse_abi(json.dumps({"abi": list(artifact(name).abi)}))
        assert [selector(each) for each in kept] == [selector(each) for each in functions], name
        assert all(each.is_view for each in views(name, PLACE))
