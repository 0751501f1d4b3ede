from __future__ import annotations

import pytest

from chain.dev import params
from chain.dev.faults import INVALID_PARAMS, RpcFault


def refused(read, *given):
    with pytest.raises(RpcFault) as caught:
        read(*given)
    assert caught.value.code == INVALID_PARAMS
    return caught.value.message


@pytest.mark.parametrize(
    "text", ["0x", "0x00", "0x01", "1", "", "0X1", "0xg", "-0x1", "0x-1", 1, None, True, [], "0x" + "f" * 65]
)
def test_what_is_no_quantity_is_refused(text):
    assert "hex number" in refused(params.quantity, text, "n")


def test_a_quantity_is_bounded():
    assert params.quantity("0x0", "n") == 0
    assert params.quantity("0x" + "f" * 64, "n") == 2**256 - 1
    assert "at most 255" in refused(params.quantity, "0x100", "n", 255)


@pytest.mark.parametrize("value", [True, -1, 1.0, "7", None])
def test_what_is_no_number_is_refused(value):
    refused(params.number, value, "n")


def test_a_number_may_be_plain_json():
    assert params.number(7, "n") == params.number("0x7", "n") == 7


@pytest.mark.parametrize(
    "text", ["", "0", "0x0", "0xabc", "ab", "0xzz", "0x 1", "0x\n", "0xab\n", 5, None, b"0x"]
)
def test_what_is_no_data_is_refused(text):
    refused(params.data, text, "d")


def test_data_has_the_size_that_is_needed():
    assert params.data("0x", "d") == b""
    assert params.address("0x" + "Ab" * 20) == b"\xab" * 20
    assert "20 bytes are needed, not 19" in refused(params.address, "0x" + "ab" * 19)
    assert "at most" in refused(params.data, "0x" + "00" * (params.DATA_BYTES_MAX + 1), "d")


def test_blocks_are_named_by_tag_number_hash_and_object():
    block_hash = "0x" + "0a" * 32
    assert params.block(None) == params.block("latest") == params.BlockRef(tag="latest")
    assert params.block("0x5") == params.block({"blockNumber": "0x5"}) == params.BlockRef(number=5)
    assert (
        params.block(block_hash)
        == params.block({"blockHash": block_hash, "requireCanonical": True})
        == params.BlockRef(block_hash=b"\x0a" * 32)
    )


@pytest.mark.parametrize(
    "value",
    [
        "LATEST",
        "newest",
        5,
        {},
        [],
        {"blockNumber": "0x1", "blockHash": "0x"},
        {"number": "0x1"},
        "0x" + "f" * 17,
        True,
    ],
)
def test_what_names_no_block_is_refused(value):
    refused(params.block, value)


def test_a_call_is_read_whole():
    fields = params.call(
        {
            "from": "0x" + "01" * 20,
            "to": "0x" + "02" * 20,
            "input": "0x03",
            "data": "0x03",
            "value": "0x4",
            "gas": "0x5",
            "gasPrice": "0x6",
            "nonce": "0x7",
            "accessList": [{"address": "0x" + "08" * 20, "storageKeys": ["0x" + "00" * 31 + "09"]}],
        }
    )
    assert fields == params.CallFields(b"\1" * 20, b"\2" * 20, b"\3", 4, 5, ((b"\x08" * 20, (9,)),))
    assert params.call({"to": None}) == params.CallFields(bytes(20), None, b"", 0, None, ())


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "0x",
        {"to": "0x1"},
        {"data": "0x01", "input": "0x02"},
        {"value": 1},
        {"gas": "0x" + "f" * 17},
        {"accessList": {}},
        {"accessList": [1]},
        {"accessList": [{"address": "0x" + "08" * 20, "storageKeys": "0x"}]},
        {"accessList": [{"storageKeys": []}]},
    ],
)
def test_a_malformed_call_is_refused(value):
    refused(params.call, value)


@pytest.mark.parametrize("value", [[50, 10], [101], [-1], ["5"], [True], "5", list(range(101)), [None]])
def test_percentiles_rise_from_0_to_100(value):
    refused(params.percentiles, value)


def test_arguments_are_counted():
    assert params.arguments(None, 0, 2) == [None, None]
    assert params.arguments([1], 1, 2) == [1, None]
    assert "missing value for required argument 1" in refused(params.arguments, [1], 2, 2)
    assert "too many arguments" in refused(params.arguments, [1, 2, 3], 0, 2)
    assert "must be a list" in refused(params.arguments, {"a": 1}, 0, 2)
