"""What a member types becomes exactly the calls that are proposed, or one sentence says what is wrong."""

from __future__ import annotations

import pytest

from chain.amount import Currency
from chain.dev.genesis import dev_contracts
from governance.calls import Call
from governance.description import text_block
from governance.glossary import Glossary
from governance.words import describe_calls
from marina.cid import cid_of, cid_text
from marina.errors import MarinaError, UsageError
from marina.ids import Account, account_text, parse_account
from node.chain.proposing import CALLS_MAX, contract_name, parse_calls, text_of

PLACES = dev_contracts()
COIN, MMT = Currency("DEV", 18), Currency("MMT", 18, PLACES.token)
POOL = Account(b"\x07" * 20)


def account_of(typed: str) -> Account:
    return POOL if typed == "pool" else parse_account(typed)


def calls(*, changes=(), payments=(), raw=None) -> list[Call]:
    return parse_calls(
        changes=changes,
        payments=payments,
        raw=raw,
        currencies=(COIN, MMT),
        contracts=PLACES,
        account_of=account_of,
    )


def words(found: list[Call]) -> list[str]:
    return [each.text for each in describe_calls(found, Glossary(PLACES, COIN, {}, {}))]


def test_changes_come_first_then_payments_then_other_calls():
    found = calls(
        changes=["fee=3%", "quorum=5%"],
        payments=["400MMT=pool", f"1.5DEV = {account_text(POOL)}"],
        raw=[["guardianregistry", "setMinBond", str(7 * 10**18)], ["MusicLicensing", "unpause"]],
    )
    assert words(found) == [
        "Set the protocol fee to 3 %",
        "Set the quorum to 5 %",
        f"Pay 400 MMT from the treasury to {account_text(POOL)}",
        f"Pay 1.5 DEV from the treasury to {account_text(POOL)}",
        "Set the least bond of a key guardian to 7 MMT",
        "Allow new purchases again",
    ]
    assert [each.value for each in found] == [0, 0, 0, 15 * 10**17, 0, 0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"changes": ["fee"]}, "NAME=VALUE"),
        ({"changes": ["fee=12%"]}, "0 % to 10 %"),
        ({"changes": ["tax=1%"]}, "the DAO sets no 'tax'"),
        ({"payments": ["400MMT"]}, "AMOUNT=ACCOUNT"),
        ({"payments": ["=pool"]}, "AMOUNT=ACCOUNT"),
        ({"payments": ["400MMT="]}, "AMOUNT=ACCOUNT"),
        ({"payments": ["0MMT=pool"]}, ""),
        ({"payments": ["4EUR=pool"]}, "EUR"),
        ({"payments": [f"1MMT={account_text(PLACES.timelock)}"]}, "cannot use a grant"),
        ({"raw": {"contract": "x"}}, "list of at most"),
        ({"raw": [["licensing", "unpause"]] * (CALLS_MAX + 1)}, "list of at most"),
        ({"raw": ["licensing"]}, "contract, function, arguments"),
        ({"raw": [["licensing"]]}, "contract, function, arguments"),
        ({"raw": [["licensing", 3]]}, "contract, function, arguments"),
        ({"raw": [["nobody", "unpause"]]}, "no contract of Marina: choose TimelockController"),
        ({"raw": [["licensing", "setFeee", "1"]]}, "did you mean 'setFee'"),
        ({"raw": [["licensing", "setFee"]]}, "the function is setFee(uint16)"),
        ({"raw": [["licensing", "setFee", "lots"]]}, "argument 1"),
        ({"raw": [["licensing", "setFee", str(2**20)]]}, "do not fit"),
        ({"raw": [["licensing", "feeBps"]]}, "only reads"),
    ],
)
def test_what_cannot_be_proposed_is_said_in_one_sentence(given, said):
    with pytest.raises(UsageError, match=r"^[^\n]+$") as caught:
        calls(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize("word", ["licensing", "MusicLicensing", "LICENSING", " musiclicensing "])
def test_a_contract_goes_by_its_name_or_the_end_of_it(word: str):
    assert contract_name(word, PLACES) == "MusicLicensing"


def test_a_text_is_given_or_named():
    cid, block = text_of("Why\n", None)
    assert (cid, block) == text_block("Why\n")
    assert text_of(None, None) == (None, None)
    assert text_of(None, cid_text(cid_of(b"x"))) == (cid_of(b"x"), None)
    for pair in (("a", cid_text(cid_of(b"x"))), (None, "bafy"), ("x" * (256 * 1024 + 1), None)):
        with pytest.raises(MarinaError) as caught:
            text_of(*pair)
        assert isinstance(caught.value, UsageError)
