"""State overrides of ``eth_call``: what is read, what is refused, and that the chain keeps nothing of it."""

import pytest

from chain.dev.faults import RpcFault
from chain.dev.overrides import ACCOUNTS_MAX, SLOTS_MAX, AccountOverride, read_overrides
from tests.support.dev_engine import STORES

WHO = "0x" + "0a" * 20
WORD = "0x" + "00" * 31 + "07"
READS_SLOT_7 = "60075460005260206000f3"
READS_BALANCE = "473d5260203df3"


def test_nothing_and_an_empty_object_are_no_overrides():
    assert read_overrides(None) == read_overrides({}) == ()


def test_every_part_of_an_account_is_read():
    (found,) = read_overrides(
        {WHO: {"balance": "0x5", "nonce": "0x2", "code": "0x6000", "stateDiff": {WORD: WORD}}}
    )
    assert found == AccountOverride(b"\x0a" * 20, 5, 2, b"\x60\x00", False, ((7, 7),))
    (cleared,) = read_overrides({WHO: {"state": {}}})
    assert cleared == AccountOverride(b"\x0a" * 20, None, None, None, True, ())


@pytest.mark.parametrize(
    "value",
    [
        [],
        "0x",
        {"0x12": {}},
        {WHO: []},
        {WHO: {"movePrecompileToAddress": WHO}},
        {WHO: {"state": {}, "stateDiff": {}}},
        {WHO: {"balance": 5}},
        {WHO: {"nonce": "0x10000000000000000"}},
        {WHO: {"code": "0x1"}},
        {WHO: {"stateDiff": {"0x1": WORD}}},
        {WHO: {"stateDiff": {WORD: 1}}},
        {WHO: {"stateDiff": [WORD]}},
        {f"0x{number:040x}": {} for number in range(ACCOUNTS_MAX + 1)},
        {WHO: {"stateDiff": {f"0x{number:064x}": WORD for number in range(SLOTS_MAX + 1)}}},
        {
            f"0x{each:040x}": {"stateDiff": {f"0x{slot:064x}": WORD for slot in range(600)}}
            for each in range(2)
        },
    ],
)
def test_what_is_malformed_or_too_much_is_refused(value):
    with pytest.raises(RpcFault, match="invalid argument"):
        read_overrides(value)


def test_a_call_sees_the_replaced_code_and_storage_and_the_chain_keeps_neither(chain):
    changed = {WHO: {"code": "0x" + READS_SLOT_7, "stateDiff": {WORD: WORD}}}
    assert chain.rpc("eth_call", {"to": WHO}, "latest", changed) == WORD
    assert (
        chain.rpc("eth_call", {"to": WHO}, "latest", {WHO: {"code": "0x" + READS_SLOT_7}}) == "0x" + "00" * 32
    )
    assert chain.rpc("eth_getCode", WHO, "latest") == "0x"
    rich = {WHO: {"code": "0x" + READS_BALANCE, "balance": "0x7"}}
    assert chain.rpc("eth_call", {"to": WHO}, "latest", rich) == WORD
    assert chain.rpc("eth_getBalance", WHO, "latest") == "0x0"


def test_a_cleared_account_has_only_the_given_storage(funded):
    address = funded.deploy(STORES)
    funded.send(to=address, data=WORD)
    stored = funded.rpc("eth_getStorageAt", address, "0x0")
    assert int(stored, 16) != 0
    reads = "60005460005260206000f3"
    assert funded.rpc("eth_call", {"to": address}, "latest", {address: {"code": "0x" + reads}}) == stored
    cleared = {address: {"code": "0x" + reads, "state": {}}}
    assert funded.rpc("eth_call", {"to": address}, "latest", cleared) == "0x" + "00" * 32
