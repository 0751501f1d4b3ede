from __future__ import annotations

import time

import pytest
from eth_abi import encode

from chain.dev import calls
from tests.support.chains import RpcError
from tests.support.dev_engine import (
    ANSWERS_42,
    CALLS_ITSELF,
    INVALID,
    LOOPS,
    START_S,
    STORES,
    TELLS_TIME,
    creation,
    reverting,
)

OTHER = "0x" + "22" * 20


def failure(chain, method, fields, *rest):
    with pytest.raises(RpcError) as caught:
        chain.rpc(method, fields, *rest)
    return caught.value


def test_a_call_returns_what_the_contract_returns(funded):
    address = funded.deploy(ANSWERS_42)
    assert funded.rpc("eth_call", {"to": address}, "latest") == "0x" + f"{42:064x}"
    assert funded.rpc("eth_call", {"to": OTHER}) == "0x"


def test_a_call_without_a_receiver_runs_creation_code(chain):
    assert chain.rpc("eth_call", {"data": creation(ANSWERS_42)}) == "0x" + ANSWERS_42


def test_a_call_changes_nothing(funded):
    address = funded.deploy(STORES)
    funded.rpc("eth_call", {"to": address, "data": "0x" + "01" * 32})
    assert funded.rpc("eth_getStorageAt", address, "0x0") == "0x" + "00" * 32


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("08c379a0" + encode(["string"], ["not yours"]).hex(), "execution reverted: not yours"),
        (
            "4e487b71" + encode(["uint256"], [0x11]).hex(),
            "execution reverted: arithmetic underflow or overflow",
        ),
        ("4e487b71" + encode(["uint256"], [0x99]).hex(), "execution reverted: unknown panic code: 0x99"),
        ("12345678" + "00" * 32, "execution reverted"),
        ("08c379a0" + "ff" * 40, "execution reverted"),
        ("", "execution reverted"),
    ],
)
def test_a_revert_has_its_reason_and_its_data(funded, method, data, message):
    error = failure(funded, method, {"to": funded.deploy(reverting(data))})
    assert (error.code, error.message, error.data) == (3, message, "0x" + data)


def test_other_failures_are_named(funded):
    invalid = failure(funded, "eth_call", {"to": funded.deploy(INVALID)})
    assert invalid.code == -32000
    assert "invalid opcode" in invalid.message.lower()
    assert (
        failure(funded, "eth_call", {"to": funded.deploy(LOOPS), "gas": hex(100_000)}).message == "out of gas"
    )


def test_a_call_that_never_ends_is_stopped_in_time(funded, monkeypatch):
    address = funded.deploy(LOOPS)
    monkeypatch.setattr(calls, "CALL_TIMEOUT_S", 0.2)
    for method in ("eth_call", "eth_estimateGas"):
        started_s = time.monotonic()
        error = failure(funded, method, {"to": address})
        assert (error.code, "timeout" in error.message) == (-32002, True)
        assert time.monotonic() - started_s < 2


def test_the_latest_state_is_seen_at_the_present_time(funded):
    address = funded.deploy(TELLS_TIME)
    height = funded.rpc("eth_blockNumber")
    funded.rpc("evm_mine")
    funded.clock.advance(500)
    assert int(funded.rpc("eth_call", {"to": address}, "latest"), 16) == START_S + 500
    assert int(funded.rpc("eth_call", {"to": address}, height), 16) == START_S
    assert int(funded.rpc("eth_call", {"to": address}, {"blockNumber": height}), 16) == START_S


def test_a_call_on_an_older_block_sees_its_state(funded):
    before = funded.rpc("eth_blockNumber")
    address = funded.deploy(ANSWERS_42)
    assert funded.rpc("eth_call", {"to": address}, before) == "0x"
    assert failure(funded, "eth_call", {"to": address}, "0xffff").message == "header not found"
    assert failure(funded, "eth_call", {"to": address}, "0x" + "ab" * 32).code == -32000


def test_who_sends_value_must_have_it(chain):
    error = failure(chain, "eth_call", {"from": OTHER, "to": OTHER, "value": "0x5"})
    assert (error.code, "have 0 want 5" in error.message) == (-32000, True)


def test_a_plain_transfer_is_estimated_exactly(funded):
    assert (
        funded.rpc("eth_estimateGas", {"to": OTHER, "from": funded.account.address, "value": "0x1"})
        == "0x5208"
    )


def test_an_estimate_is_enough_and_close(funded):
    address = funded.deploy(STORES)
    fields = {"to": address, "data": "0x" + "01" * 32}
    estimated = int(funded.rpc("eth_estimateGas", fields), 16)
    receipt = funded.send(to=address, data=fields["data"], gas=estimated)
    assert receipt["status"] == "0x1"
    assert int(receipt["gasUsed"], 16) <= estimated <= int(receipt["gasUsed"], 16) * 1.2


def test_an_estimate_of_a_refund_leaves_room_for_what_is_refunded(funded):
    address = funded.deploy(STORES)
    funded.send(to=address, data="0x" + "01" * 32)
    estimated = int(funded.rpc("eth_estimateGas", {"to": address, "data": "0x" + "00" * 32}), 16)
    receipt = funded.send(to=address, data="0x" + "00" * 32, gas=estimated)
    assert receipt["status"] == "0x1"
    assert int(receipt["gasUsed"], 16) < estimated


def test_an_estimate_of_a_creation_is_enough(funded):
    estimated = int(funded.rpc("eth_estimateGas", {"data": creation(STORES)}), 16)
    assert funded.send(data=creation(STORES), gas=estimated)["status"] == "0x1"


def test_an_estimate_above_what_is_allowed_is_refused(funded):
    address = funded.deploy(STORES)
    error = failure(funded, "eth_estimateGas", {"to": address, "data": "0x" + "01" * 32, "gas": hex(30_000)})
    assert error.message == "gas required exceeds allowance (30000)"
    assert "intrinsic gas too low" in failure(funded, "eth_call", {"to": address, "gas": "0x1"}).message


def test_a_deep_recursion_is_estimated(funded):
    address = funded.deploy(CALLS_ITSELF)
    assert int(funded.rpc("eth_estimateGas", {"to": address}), 16) > 21_000


def test_estimates_take_no_overrides_of_the_state(chain):
    error = failure(chain, "eth_estimateGas", {"to": OTHER}, "latest", {OTHER: {"balance": "0x1"}})
    assert error.code == -32602
