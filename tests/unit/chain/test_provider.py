"""web3.py over the pool: what it asks, what it gives back, and whose errors come out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chain.artifacts import artifact
from chain.errors import ChainUnavailableError, RpcError
from chain.provider import make_web3
from marina.ids import Account, account_text
from tests.support.wire import Refused, Wire, pool_over

URL = "http://127.0.0.1:8545"
PLACE = account_text(Account(b"\x33" * 20))


def over(answer):
    wire = Wire(answer)
    return wire, make_web3(pool_over({URL: wire}, tries_max=1))


async def test_one_call_is_one_request_and_the_chain_is_not_asked_for_again():
    wire, web3 = over(lambda *_: "0x10")
    assert [await web3.eth.block_number for _ in range(3)] == [16, 16, 16]
    assert wire.requests == [["eth_chainId"], *[["eth_blockNumber"]] * 3]


async def test_a_contract_is_read_in_one_request():
    def answer(method, params):
        assert method == "eth_call", method
        assert params[0]["to"] == PLACE
        return "0x" + (7).to_bytes(32).hex()

    wire, web3 = over(answer)
    token = web3.eth.contract(address=PLACE, abi=list(artifact("MarinaToken").abi))
    assert await token.functions.totalSupply().call() == 7
    assert wire.asked == ["eth_call"]


async def test_bytes_travel_as_hex_wherever_they_are():
    seen = []

    def answer(_method, params):
        seen.append(params)
        return []

    _, web3 = over(answer)
    await web3.manager.coro_request(
        "eth_getLogs", [{"topics": [[b"\x01" * 32], bytearray(b"\x02")]}, (b"\x03",)]
    )
    assert seen == [[{"topics": [["0x" + "01" * 32], "0x02"]}, ["0x03"]]]


async def test_a_refusal_passes_through_as_ours():
    def answer(_method, _params):
        raise Refused(3, "execution reverted", "0x08c379a0")

    _, web3 = over(answer)
    with pytest.raises(RpcError) as caught:
        await web3.eth.call({"to": PLACE, "data": "0x"})
    assert (caught.value.rpc_code, caught.value.data) == (3, bytes.fromhex("08c379a0"))


async def test_silence_passes_through_as_ours(autojump_clock):
    wire, web3 = over(lambda *_: "0x1")
    wire.is_down = True
    with pytest.raises(ChainUnavailableError):
        await web3.eth.get_balance(PLACE)


async def test_ens_and_accounts_of_the_endpoint_are_not_used_to_sign():
    wire, web3 = over(lambda *_: "0x1")
    await web3.eth.send_raw_transaction(b"\x02\x01")
    assert wire.asked == ["eth_sendRawTransaction"]


def test_web3_is_loaded_at_the_first_use_and_not_before():
    code = (
        "import sys; import chain.gateway, chain.sender, chain.provider, chain.rpc; "
        "sys.exit(any(name.split('.')[0] in ('web3', 'aiohttp') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
