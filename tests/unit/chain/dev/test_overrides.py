from __future__ import annotations

import pytest

from tests.support.chains import RpcError
from tests.support.dev_engine import ANSWERS_42, STORES

OTHER = "0x" + "22" * 20
READS_SLOT_0 = "60005460005260206000f3"
WORD = "0x" + "00" * 31 + "07"


def test_a_call_sees_another_code(chain):
    answer = chain.rpc("eth_call", {"to": OTHER}, "latest", {OTHER: {"code": "0x" + ANSWERS_42}})
    assert int(answer, 16) == 42
    assert chain.rpc("eth_getCode", OTHER) == "0x"


def test_a_call_sees_another_balance(chain):
    fields = {"from": OTHER, "to": "0x" + "33" * 20, "value": "0x5"}
    assert chain.rpc("eth_call", fields, "latest", {OTHER: {"balance": "0x5"}}) == "0x"
    assert chain.rpc("eth_getBalance", OTHER) == "0x0"


@pytest.mark.parametrize("part", ["state", "stateDiff"])
def test_a_call_sees_other_storage(funded, part):
    address = funded.deploy(STORES)
    funded.send(to=address, data="0x" + "01" * 32)
    override = {"code": "0x" + READS_SLOT_0, part: {"0x" + "00" * 32: WORD}}
    assert funded.rpc("eth_call", {"to": address}, "latest", {address: override}) == WORD


def test_a_replaced_storage_has_no_other_slots(funded):
    address = funded.deploy(STORES)
    funded.send(to=address, data="0x" + "01" * 32)
    override = {"code": "0x" + READS_SLOT_0, "state": {"0x" + "00" * 31 + "01": WORD}}
    assert int(funded.rpc("eth_call", {"to": address}, "latest", {address: override}), 16) == 0
    override = {"code": "0x" + READS_SLOT_0, "stateDiff": {"0x" + "00" * 31 + "01": WORD}}
    assert funded.rpc("eth_call", {"to": address}, "latest", {address: override}) == "0x" + "01" * 32


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        {"0x22": {}},
        {OTHER: []},
        {OTHER: {"storage": {}}},
        {OTHER: {"state": {}, "stateDiff": {}}},
        {OTHER: {"stateDiff": {"0x0": WORD}}},
        {OTHER: {"stateDiff": []}},
        {OTHER: {"balance": 5}},
        {OTHER: {"nonce": "0x" + "f" * 17}},
        {f"0x{number:040x}": {} for number in range(65)},
    ],
)
def test_malformed_overrides_are_refused(chain, overrides):
    with pytest.raises(RpcError) as caught:
        chain.rpc("eth_call", {"to": OTHER}, "latest", overrides)
    assert caught.value.code == -32602
