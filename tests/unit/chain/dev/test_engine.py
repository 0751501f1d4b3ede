from __future__ import annotations

import pytest
import rlp
from eth_account import Account

from chain.dev.engine import BLOCKS_AT_ONCE_MAX, Engine
from chain.dev.store import Store
from marina.clock import ManualClock
from tests.support.chains import RpcError
from tests.support.dev_engine import (
    CALLS_ITSELF,
    COIN,
    GWEI,
    INVALID,
    LOGS_ONE,
    START_S,
    STORES,
    DevEngine,
    creation,
    reverting,
)

OTHER = "0x" + "22" * 20


def refused(chain, raw):
    before = chain.rpc("eth_getBlockByNumber", "latest", False)
    with pytest.raises(RpcError) as caught:
        chain.rpc("eth_sendRawTransaction", raw)
    assert chain.rpc("eth_getBlockByNumber", "latest", False) == before
    assert caught.value.code == -32000
    return caught.value.message


def test_a_transfer_moves_coins_and_pays_its_fee(funded):
    receipt = funded.send(to=OTHER, value=5, gas=21_000)
    price = int(receipt["effectiveGasPrice"], 16)
    assert (receipt["status"], receipt["gasUsed"]) == ("0x1", hex(21_000))
    assert int(funded.rpc("eth_getBalance", OTHER), 16) == 5
    assert int(funded.rpc("eth_getBalance", funded.account.address), 16) == 100 * COIN - 5 - 21_000 * price
    base_fee = int(funded.rpc("eth_getBlockByNumber", receipt["blockHash"], False)["baseFeePerGas"], 16)
    assert price == base_fee + GWEI


def test_every_transaction_has_a_block_of_its_own(funded):
    numbers = [int(funded.send(to=OTHER)["blockNumber"], 16) for _ in range(3)]
    assert numbers == [2, 3, 4]
    assert funded.rpc("eth_getBlockTransactionCountByNumber", "0x3") == "0x1"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("0x0", {"gasPrice": 2 * GWEI}),
        (
            "0x1",
            {
                "gasPrice": 2 * GWEI,
                "accessList": [{"address": "0x" + "33" * 20, "storageKeys": ["0x" + "00" * 32]}],
            },
        ),
        ("0x2", {"maxFeePerGas": 2 * GWEI, "maxPriorityFeePerGas": 0}),
    ],
)
def test_legacy_access_list_and_dynamic_fee_transactions_are_taken(funded, kind, fields):
    receipt = funded.send(to=OTHER, **fields)
    shown = funded.rpc("eth_getTransactionByHash", receipt["transactionHash"])
    assert (receipt["status"], receipt["type"], shown["type"], shown["chainId"]) == (
        "0x1",
        kind,
        kind,
        "0x7a69",
    )
    assert shown["from"] == funded.account.address.lower()


def test_a_transaction_that_reverts_is_mined_with_status_0(funded):
    address = funded.deploy(reverting("08c379a0"))
    receipt = funded.send(to=address)
    assert (receipt["status"], receipt["logs"]) == ("0x0", [])
    assert funded.nonce() == 2


def test_a_failed_creation_leaves_no_code(funded):
    receipt = funded.send(data="0x" + INVALID)
    assert receipt["status"] == "0x0"
    assert receipt["gasUsed"] == hex(300_000)
    assert funded.rpc("eth_getCode", receipt["contractAddress"]) == "0x"


def test_state_of_older_blocks_stays(funded):
    address = funded.deploy(STORES)
    heights = [
        int(funded.send(to=address, data="0x" + f"{value:064x}")["blockNumber"], 16) for value in (7, 8)
    ]
    assert [funded.rpc("eth_getStorageAt", address, "0x0", hex(each))[-2:] for each in heights] == [
        "07",
        "08",
    ]
    assert funded.rpc("eth_getStorageAt", address, "0x" + "00" * 32, hex(heights[0] - 1)) == "0x" + "00" * 32
    assert funded.rpc("eth_getCode", address, "0x1") == "0x"
    assert funded.rpc("eth_getTransactionCount", funded.account.address, "0x1") == "0x0"
    assert int(funded.rpc("eth_getBalance", funded.account.address, "earliest"), 16) == 0


def test_a_used_nonce_is_too_low(funded):
    funded.send(to=OTHER)
    assert (
        refused(funded, funded.signed(to=OTHER, value=1, nonce=0))
        == "nonce too low: next nonce 1, tx nonce 0"
    )


def test_a_nonce_ahead_is_refused_and_nothing_waits(funded):
    assert refused(funded, funded.signed(to=OTHER, nonce=2)) == "nonce too high: next nonce 0, tx nonce 2"
    assert funded.send(to=OTHER)["status"] == "0x1"
    assert funded.nonce() == 1


def test_the_same_transaction_again_is_already_known(funded):
    raw = funded.signed(to=OTHER)
    funded.rpc("eth_sendRawTransaction", raw)
    assert refused(funded, raw) == "already known"


def test_who_has_too_little_is_told_how_much_is_missing(chain):
    cost = 300_000 * 3 * GWEI + 5
    assert refused(chain, chain.signed(to=OTHER, value=5)) == (
        f"insufficient funds for gas * price + value: balance 0, tx cost {cost}, overshot {cost}"
    )


def test_another_chains_transaction_is_refused(funded):
    assert (
        refused(funded, funded.signed(to=OTHER, chainId=1))
        == "invalid chain id for signer: have 1 want 31337"
    )
    assert "invalid chain id" in refused(funded, funded.signed(to=OTHER, chainId=137, gasPrice=GWEI))


def test_a_transaction_for_any_chain_is_refused(funded):
    raw = Account.sign_transaction(
        {"nonce": 0, "gas": 21_000, "gasPrice": 2 * GWEI, "to": OTHER, "value": 0}, funded.account.key
    ).raw_transaction
    assert "EIP-155" in refused(funded, "0x" + raw.hex())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 0}, "max fee per gas less than block base fee"),
        (
            {"maxFeePerGas": GWEI, "maxPriorityFeePerGas": 2 * GWEI},
            "max priority fee per gas higher than max fee",
        ),
        ({"gas": 20_999}, "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (
            {"gas": 21_000, "data": "0x" + "01" * 100},
            "intrinsic gas too low: gas 21000, minimum needed 25000",
        ),
        ({"gas": (1 << 24) + 1}, "transaction gas limit too high (cap: 16777216, tx: 16777217)"),
        (
            {"to": "", "gas": 10**7, "data": "0x" + "00" * 49_153},
            "max initcode size exceeded: code size 49153",
        ),
        ({"data": "0x" + "00" * (128 << 10)}, "oversized data"),
    ],
)
def test_fees_and_gas_are_checked_before_anything_runs(funded, fields, message):
    assert message in refused(funded, funded.signed(**{"to": OTHER, **fields}))


@pytest.mark.parametrize(
    "raw",
    [
        "0x",
        "0x00",
        "0x02",
        "0x02c0",
        "0xc0",
        "0xf8",
        "0x7f" + "00" * 40,
        "0x02" + "ff" * 100,
        "0xc1" * 3,
        "0x" + "c1" * 1000,
    ],
)
def test_bytes_that_are_no_transaction_are_refused(funded, raw):
    with pytest.raises(RpcError) as caught:
        funded.rpc("eth_sendRawTransaction", raw)
    assert caught.value.code in (-32000, -32602)


@pytest.mark.parametrize("kind", [3, 4])
def test_blob_and_delegation_transactions_are_refused(funded, kind):
    raw = bytes.fromhex(funded.signed(to=OTHER)[2:])
    assert refused(funded, "0x" + bytes([kind]).hex() + raw[1:].hex()) == "transaction type not supported"


def test_a_changed_byte_of_the_signature_never_moves_the_senders_coins(funded):
    raw = bytes.fromhex(funded.signed(to=OTHER, value=COIN)[2:])
    for position in range(len(raw) - 66, len(raw)):
        changed = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises(RpcError):
            funded.rpc("eth_sendRawTransaction", "0x" + changed.hex())
    assert int(funded.rpc("eth_getBalance", funded.account.address), 16) == 100 * COIN


def test_the_mirrored_signature_is_refused(funded):
    """EIP-2: whoever sees a transaction could make another of the same meaning with another hash."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    fields = rlp.decode(bytes.fromhex(funded.signed(to=OTHER)[4:]))
    fields[9] = b"" if fields[9] else b"\x01"
    fields[11] = (order - int.from_bytes(fields[11])).to_bytes(32)
    assert refused(funded, "0x02" + rlp.encode(fields).hex()) == "invalid transaction v, r, s values"


def test_a_deep_recursion_ends_by_gas_and_not_by_the_stack(funded):
    address = funded.deploy(CALLS_ITSELF)
    receipt = funded.send(to=address, gas=1 << 24)
    assert receipt["status"] == "0x1"
    assert funded.send(to=OTHER)["status"] == "0x1"


def test_the_time_of_blocks_is_the_clocks(funded):
    def block_s():
        return int(funded.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    funded.clock.advance(60)
    funded.send(to=OTHER)
    assert block_s() == START_S + 60
    funded.clock.set_wall(START_S - 1000)
    funded.send(to=OTHER)
    assert block_s() == START_S + 60


def test_many_blocks_do_not_run_ahead_of_the_clock(chain):
    chain.rpc("evm_mine", 100)
    assert chain.engine.head().timestamp == START_S


def test_time_travels_forward_and_stays_there(tmp_path):
    chain = DevEngine(tmp_path)
    assert chain.rpc("evm_increaseTime", 100) == 100
    assert chain.rpc("evm_increaseTime", "0x64") == 200
    chain.rpc("evm_mine")
    assert chain.engine.head().timestamp == START_S + 200
    chain.close()
    again = DevEngine(tmp_path, clock=ManualClock(START_S + 5))
    again.rpc("evm_mine")
    assert again.engine.head().timestamp == START_S + 205
    again.close()


def test_the_next_blocks_time_can_be_chosen_once(chain):
    chain.rpc("evm_setNextBlockTimestamp", START_S + 1000)
    chain.clock.advance(3)
    chain.rpc("evm_mine", 1)
    assert chain.engine.head().timestamp == START_S + 1000
    chain.rpc("evm_mine", 1)
    assert chain.engine.head().timestamp == START_S + 1003


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("evm_setNextBlockTimestamp", START_S - 1),
        ("evm_setNextBlockTimestamp", START_S + 200 * 365 * 86_400),
        ("evm_increaseTime", 101 * 365 * 86_400),
        ("evm_increaseTime", -1),
        ("evm_mine", 0),
        ("evm_mine", BLOCKS_AT_ONCE_MAX + 1),
    ],
)
def test_impossible_times_and_numbers_of_blocks_are_refused(chain, method, value):
    with pytest.raises(RpcError) as caught:
        chain.rpc(method, value)
    assert caught.value.code == -32602
    assert (chain.engine.head().block_number, chain.engine.now_s()) == (0, START_S)


def test_the_chain_goes_on_after_reopening(tmp_path):
    chain = DevEngine(tmp_path)
    chain.fund()
    receipt = chain.send(to=OTHER, value=3)
    chain.close()
    again = DevEngine(tmp_path)
    assert again.rpc("eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
    assert again.send(to=OTHER)["blockNumber"] == "0x3"
    again.close()


def test_a_beginning_that_fails_leaves_no_chain(tmp_path):
    def fail(engine: Engine) -> None:
        engine.store.set_note("half", b"way")
        raise ZeroDivisionError

    store = Store(tmp_path / "chain.sqlite")
    store.open()
    with pytest.raises(ZeroDivisionError):
        Engine(store=store, clock=ManualClock(START_S), predeploy=fail).open()
    assert store.note("half") is None
    store.close()
    chain = DevEngine(tmp_path)
    assert chain.rpc("eth_blockNumber") == "0x0"
    chain.close()


def test_a_log_written_before_a_failure_of_the_store_is_not_kept(funded, monkeypatch):
    address = funded.deploy(LOGS_ONE)

    def fail(_):
        raise RuntimeError

    monkeypatch.setattr(funded.engine.clock, "used", lambda: fail(None))
    raw = funded.signed(to=address, data="0x" + "01" * 32)
    with pytest.raises(RpcError) as caught:
        funded.rpc("eth_sendRawTransaction", raw)
    assert caught.value.code == -32603
    monkeypatch.undo()
    assert funded.rpc("eth_getLogs", {"fromBlock": "0x0"}) == []
    funded.rpc("eth_sendRawTransaction", raw)
    assert len(funded.rpc("eth_getLogs", {"fromBlock": "0x0"})) == 1


def test_creation_code_counts_its_words(funded):
    """EIP-3860: 2 gas a word, on top of the 53,000 and the bytes."""
    code = creation("00")
    size = len(code) // 2 - 1
    zeros = bytes.fromhex(code[2:]).count(0)
    least = 53_000 + 16 * (size - zeros) + 4 * zeros + 2
    assert f"minimum needed {least}" in refused(funded, funded.signed(data=code, gas=least - 1))
