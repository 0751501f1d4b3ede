from __future__ import annotations

import pytest

from chain.dev import logs
from tests.support.chains import RpcError
from tests.support.dev_engine import LOGS_ONE, LOGS_TWO, reverting

A, B, C = ("0x" + letter * 64 for letter in "abc")
ALL = {"fromBlock": "0x0", "toBlock": "latest"}


@pytest.fixture
def logged(funded):
    """Three logs in three blocks: two of one contract, one of another."""
    funded.first, funded.second = funded.deploy(LOGS_ONE), funded.deploy(LOGS_TWO)
    funded.receipts = [
        funded.send(to=funded.first, data=A),
        funded.send(to=funded.second, data=A + B[2:]),
        funded.send(to=funded.first, data=C),
    ]
    return funded


def found(chain, **wanted):
    return [
        chain.receipts.index(each)
        for each in chain.receipts
        for entry in chain.rpc("eth_getLogs", {**ALL, **wanted})
        if entry == each["logs"][0]
    ]


def test_logs_are_those_of_the_receipts(logged):
    assert [each["logs"][0] for each in logged.receipts] == logged.rpc("eth_getLogs", ALL)
    entry = logged.receipts[1]["logs"][0]
    assert (entry["topics"], entry["data"], entry["address"]) == ([A, B], "0x" + "00" * 32, logged.second)
    assert (entry["logIndex"], entry["removed"]) == ("0x0", False)
    assert entry["blockHash"] == logged.receipts[1]["blockHash"]
    assert logged.rpc("eth_getBlockReceipts", entry["blockNumber"]) == [logged.receipts[1]]


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ([], [0, 1, 2]),
        ([A], [0, 1]),
        ([[A, C]], [0, 1, 2]),
        ([None], [0, 1, 2]),
        ([None, B], [1]),
        ([A, None], [1]),
        ([A, [B, C]], [1]),
        ([B], []),
        ([[], []], [1]),
        ([None, None, None], []),
    ],
)
def test_topics_are_matched_by_position(logged, topics, expected):
    assert found(logged, topics=topics) == expected


def test_addresses_are_matched(logged):
    assert found(logged, address=logged.first) == [0, 2]
    assert found(logged, address=[logged.first, logged.second]) == [0, 1, 2]
    assert found(logged, address="0x" + "99" * 20) == []
    assert found(logged, address=[]) == [0, 1, 2]


def test_blocks_are_bounded_by_number_and_by_hash(logged):
    height = logged.receipts[1]["blockNumber"]
    assert found(logged, fromBlock=height) == [1, 2]
    assert found(logged, toBlock=height) == [0, 1]
    assert (
        logged.rpc("eth_getLogs", {"blockHash": logged.receipts[1]["blockHash"]})
        == logged.receipts[1]["logs"]
    )
    assert logged.rpc("eth_getLogs", {}) == logged.receipts[2]["logs"]
    assert logged.rpc("eth_getLogs", {"fromBlock": "0xffff", "toBlock": "0xfffff"}) == []
    assert found(logged, toBlock="0xffffffff") == [0, 1, 2]


def test_a_reverted_transaction_logs_nothing(funded):
    funded.send(to=funded.deploy(reverting("")), data=A)
    assert funded.rpc("eth_getLogs", ALL) == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"fromBlock": "0x5", "toBlock": "0x4"},
        {"blockHash": A},
        {"blockHash": A, "fromBlock": "0x0"},
        {"fromBlock": A},
        {"topics": [A] * 5},
        {"topics": A},
        {"topics": ["0x12"]},
        {"topics": [[[A]]]},
        {"address": "0x12"},
        {"address": ["0x" + "99" * 20] * 257},
        {"blocks": 5},
        [],
    ],
)
def test_a_malformed_filter_is_refused(chain, wanted):
    with pytest.raises(RpcError) as caught:
        chain.rpc("eth_getLogs", wanted)
    assert caught.value.code == -32602


def test_the_range_is_bounded(logged, monkeypatch):
    monkeypatch.setattr(logs, "BLOCKS_MAX", 3)
    head = int(logged.rpc("eth_blockNumber"), 16)
    assert len(logged.rpc("eth_getLogs", {"fromBlock": hex(head - 2)})) == 3
    with pytest.raises(RpcError, match="exceed maximum block range: 3"):
        logged.rpc("eth_getLogs", {"fromBlock": hex(head - 3)})


@pytest.mark.parametrize(("name", "limit"), [("LOGS_MAX", 2), ("DATA_BYTES_MAX", 64)])
def test_the_answer_is_bounded(logged, monkeypatch, name, limit):
    monkeypatch.setattr(logs, name, limit)
    with pytest.raises(RpcError) as caught:
        logged.rpc("eth_getLogs", ALL)
    assert (caught.value.code, "ask for fewer blocks" in caught.value.message) == (-32005, True)
    assert len(logged.rpc("eth_getLogs", {**ALL, "address": logged.first})) == 2
