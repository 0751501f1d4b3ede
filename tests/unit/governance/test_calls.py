"""Ids of proposals and operations, against the formulas of the contracts."""

import pytest
from eth_abi import encode
from eth_hash.auto import keccak

from governance.calls import CALLS_MAX, Call, check_proposable, description_hash, operation_id, proposal_id
from marina.errors import UsageError
from marina.ids import Account

ONE, TWO = Account(b"\x01" * 20), Account(b"\x02" * 20)
CALLS = (Call(ONE, 0, b"\xab\xcd"), Call(TWO, 10**18, b""), Call(ONE, 7, bytes(100)))


def test_the_id_is_the_hash_of_the_calls_and_of_the_description():
    text = "Halve the fee"
    plain = encode(
        ["address[]", "uint256[]", "bytes[]", "bytes32"],
        [
            [each.target for each in CALLS],
            [0, 10**18, 7],
            [each.data for each in CALLS],
            keccak(text.encode()),
        ],
    )
    assert proposal_id(CALLS, description_hash(text)) == int.from_bytes(keccak(plain))


def test_the_order_of_the_calls_and_every_letter_of_the_text_matter():
    ids = {
        proposal_id(CALLS, description_hash("a")),
        proposal_id(CALLS[::-1], description_hash("a")),
        proposal_id(CALLS, description_hash("b")),
    }
    assert len(ids) == 3


def test_the_timelock_salts_the_operation_with_the_governor_and_the_description():
    hashed = description_hash("Halve the fee")
    salt = (int.from_bytes(ONE + bytes(12)) ^ int.from_bytes(hashed)).to_bytes(32)
    plain = encode(
        ["address[]", "uint256[]", "bytes[]", "bytes32", "bytes32"],
        [[each.target for each in CALLS], [0, 10**18, 7], [each.data for each in CALLS], bytes(32), salt],
    )
    assert operation_id(CALLS, hashed, ONE) == keccak(plain)


def test_a_proposal_without_calls_or_with_too_many_is_refused():
    with pytest.raises(UsageError, match="at least one call"):
        check_proposable([])
    with pytest.raises(UsageError, match="at most 64"):
        check_proposable([Call(ONE, 0, b"")] * (CALLS_MAX + 1))
    with pytest.raises(UsageError, match="bytes of data"):
        check_proposable([Call(ONE, 0, bytes(25_000))])
    check_proposable(CALLS)


@pytest.mark.parametrize(("target", "value"), [(b"\x01" * 19, 0), (ONE, -1), (ONE, 1 << 256)])
def test_a_call_that_the_evm_does_not_know_cannot_be_made(target, value):
    with pytest.raises(ValueError, match="20-byte target"):
        Call(Account(target), value, b"")
