from __future__ import annotations

import pytest

from marina.clock import ManualClock
from tests.support.chains import RpcError
from tests.support.dev_engine import COIN, START_S, DevEngine

OTHER = "0x" + "22" * 20
DAY_S = 86_400


def balance(chain, account=OTHER):
    return int(chain.rpc("eth_getBalance", account), 16)


def test_the_faucet_sends_a_hundred_coins_by_a_mined_transaction(chain):
    transaction_hash = chain.rpc("marina_faucet", OTHER)
    assert balance(chain) == 100 * COIN
    receipt = chain.rpc("eth_getTransactionReceipt", transaction_hash)
    assert (receipt["status"], receipt["to"]) == ("0x1", OTHER)


def test_an_address_gets_a_hundred_coins_a_day_in_all(chain):
    chain.rpc("marina_faucet", OTHER, hex(70 * COIN))
    with pytest.raises(RpcError) as caught:
        chain.rpc("marina_faucet", OTHER, hex(31 * COIN))
    assert (caught.value.code, "can have 30 more today" in caught.value.message) == (-32005, True)
    chain.rpc("marina_faucet", OTHER)
    assert balance(chain) == 100 * COIN
    with pytest.raises(RpcError, match="can have 0 more today"):
        chain.rpc("marina_faucet", OTHER, "0x1")
    chain.rpc("marina_faucet", "0x" + "33" * 20)
    assert balance(chain) == 100 * COIN


def test_the_next_day_gives_again(chain):
    chain.rpc("marina_faucet", OTHER)
    chain.clock.advance(DAY_S)
    chain.rpc("marina_faucet", OTHER)
    assert balance(chain) == 200 * COIN


def test_the_limit_survives_a_restart(tmp_path):
    chain = DevEngine(tmp_path)
    chain.rpc("marina_faucet", OTHER)
    chain.close()
    again = DevEngine(tmp_path, clock=ManualClock(START_S + 10))
    with pytest.raises(RpcError) as caught:
        again.rpc("marina_faucet", OTHER)
    assert caught.value.code == -32005
    again.close()


def test_nothing_is_no_amount(chain):
    with pytest.raises(RpcError) as caught:
        chain.rpc("marina_faucet", OTHER, "0x0")
    assert caught.value.code == -32602


def test_what_the_faucet_could_not_send_is_not_counted(chain, monkeypatch):
    monkeypatch.setattr(chain.engine.clock, "used", lambda: 1 // 0)
    with pytest.raises(RpcError):
        chain.rpc("marina_faucet", OTHER)
    monkeypatch.undo()
    chain.rpc("marina_faucet", OTHER)
    assert balance(chain) == 100 * COIN
