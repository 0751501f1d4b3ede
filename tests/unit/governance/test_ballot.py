"""Votes by signature, against eth-account's encoder and the contract's type strings."""

import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

from chain.accounts import TypedDomain
from governance.ballot import Ballot, check_reason, parse_support
from governance.tally import Support
from marina.errors import UsageError
from marina.ids import Account, account_text

DOMAIN = TypedDomain("MarinaGovernor", "1", 31337, Account(b"\x05" * 20))
VOTER = Account(b"\x06" * 20)
PLAIN = [("proposalId", "uint256"), ("support", "uint8"), ("voter", "address"), ("nonce", "uint256")]


@pytest.mark.parametrize("reason", ["", "It is fair."])
def test_the_digest_is_the_governors(reason):
    kinds = [*PLAIN, ("reason", "string"), ("params", "bytes")] if reason else PLAIN
    name = "ExtendedBallot" if reason else "Ballot"
    message = {"proposalId": 1 << 200, "support": 1, "voter": account_text(VOTER), "nonce": 3}
    signable = encode_typed_data(
        domain_data={
            "name": "MarinaGovernor",
            "version": "1",
            "chainId": 31337,
            "verifyingContract": account_text(DOMAIN.contract),
        },
        message_types={name: [{"name": key, "type": kind} for key, kind in kinds]},
        message_data=message | ({"reason": reason, "params": b""} if reason else {}),
    )
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert Ballot(1 << 200, Support.FOR, VOTER, reason).digest(DOMAIN, 3) == expected


def test_votes_are_words():
    assert [parse_support(each) for each in ("for", " YES", "against", "no", "Abstain")] == [
        Support.FOR, Support.FOR, Support.AGAINST, Support.AGAINST, Support.ABSTAIN,
    ]  # fmt: skip
    with pytest.raises(UsageError, match="for, against or abstain"):
        parse_support("maybe")


def test_a_reason_is_short_and_visible():
    assert check_reason("  fair \n enough ") == "fair \n enough"
    for bad in ("x" * 2_001, "a\u202eb"):
        with pytest.raises(UsageError, match="visible"):
            check_reason(bad)
