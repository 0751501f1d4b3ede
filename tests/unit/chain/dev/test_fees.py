from __future__ import annotations

import pytest

from chain.dev.fees import HISTORY_BLOCKS_MAX
from tests.support.chains import RpcError
from tests.support.dev_engine import GWEI

OTHER = "0x" + "22" * 20


def base_fees(chain, first, last):
    return [
        int(chain.rpc("eth_getBlockByNumber", hex(each), False)["baseFeePerGas"], 16)
        for each in range(first, last + 1)
    ]


def test_the_base_fee_falls_by_an_eighth_to_its_floor(chain):
    chain.rpc("evm_mine", 200)
    fees = base_fees(chain, 0, 200)
    assert fees[:3] == [GWEI, GWEI * 7 // 8, 765_625_000]
    assert fees == sorted(fees, reverse=True)
    assert fees[-1] == 7


def test_the_history_shows_fees_use_and_tips(funded):
    funded.send(to=OTHER, gas=21_000, maxFeePerGas=3 * GWEI, maxPriorityFeePerGas=5)
    funded.rpc("evm_mine")
    history = funded.rpc("eth_feeHistory", "0x3", "latest", [10, 90.5])
    fees = [int(each, 16) for each in history["baseFeePerGas"]]
    assert history["oldestBlock"] == "0x1"
    assert fees[:3] == base_fees(funded, 1, 3)
    assert history["gasUsedRatio"] == [21_000 / 30_000_000] * 2 + [0.0]
    assert history["reward"] == [["0x3b9aca00"] * 2, ["0x5"] * 2, ["0x0"] * 2]
    funded.rpc("evm_mine")
    assert base_fees(funded, 4, 4) == fees[3:]


def test_the_history_is_cut_to_what_there_is(chain):
    chain.rpc("evm_mine", 2)
    history = chain.rpc("eth_feeHistory", 10, "0x1")
    assert (history["oldestBlock"], len(history["gasUsedRatio"]), len(history["baseFeePerGas"])) == (
        "0x0",
        2,
        3,
    )
    assert "reward" not in history
    assert chain.rpc("eth_feeHistory", "0x0", "latest", [5]) | {"reward": []} == {
        "oldestBlock": "0x0",
        "baseFeePerGas": [],
        "gasUsedRatio": [],
        "baseFeePerBlobGas": [],
        "blobGasUsedRatio": [],
        "reward": [],
    }


def test_the_history_is_bounded(chain):
    for _ in range(2):
        chain.rpc("evm_mine", 600)
    assert len(chain.rpc("eth_feeHistory", "0xffffff", "latest")["gasUsedRatio"]) == HISTORY_BLOCKS_MAX
    with pytest.raises(RpcError, match="request beyond head block"):
        chain.rpc("eth_feeHistory", "0x1", "0xffff")


def test_the_suggested_price_is_enough_for_the_next_block(funded):
    price = int(funded.rpc("eth_gasPrice"), 16)
    tip = int(funded.rpc("eth_maxPriorityFeePerGas"), 16)
    receipt = funded.send(to=OTHER, maxFeePerGas=price, maxPriorityFeePerGas=tip)
    assert (receipt["status"], int(receipt["effectiveGasPrice"], 16)) == ("0x1", price)
