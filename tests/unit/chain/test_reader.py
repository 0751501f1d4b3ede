"""Reads of our contracts on a real EVM through web3, and of contracts that are none of ours."""

from __future__ import annotations

import pytest

from chain.contracts import ZERO
from chain.dev import genesis
from chain.errors import ChainUnavailableError, RevertedError, RpcError
from chain.reader import ContractReader
from marina.errors import MarinaError
from marina.ids import Account
from tests.support.chains import RpcError as EngineError
from tests.support.dev_engine import DevEngine
from tests.support.wire import Refused, Wire, pool_over

SET = genesis.dev_contracts()
NOWHERE = Account(b"\x99" * 20)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    made = DevEngine(
        tmp_path_factory.mktemp("reader"), funded=genesis.funded(), predeploy=genesis.deploy_contracts
    )
    made.fund()
    yield made
    made.close()


@pytest.fixture
def wire(engine):
    def answer(method, params):
        try:
            return engine.rpc(method, *params)
        except EngineError as err:
            raise Refused(err.code, err.message, err.data) from err

    return Wire(answer)


@pytest.fixture
def reader(wire):
    return ContractReader(rpc=pool_over({"http://127.0.0.1:8545": wire}, tries_max=1), contracts=SET)


async def test_numbers_texts_and_addresses_come_in_our_types(reader):
    assert await reader.read("MarinaToken", "totalSupply") == 10**24
    assert await reader.read("MarinaToken", "symbol") == "MMT"
    assert await reader.read("MarinaToken", "minter") == SET.timelock
    assert await reader.read("MarinaToken", "balanceOf", bytes(genesis.treasurer())) == 10**24
    token, allowed = await reader.read("MusicLicensing", "tokens", 0)
    assert (token, allowed) == (ZERO, True)


async def test_a_read_may_be_of_an_earlier_block(reader):
    made = len((await reader.rpc.call("eth_getBlockByNumber", ["latest", False]))["hash"])
    assert made == 66
    assert await reader.read("MarinaToken", "totalSupply", block=5) == 10**24


async def test_a_refusal_is_told_in_words(reader):
    with pytest.raises(RevertedError, match="the contract refused: nothing is registered under this"):
        await reader.read("TrackRegistry", "tokenURI", 5)


async def test_the_time_is_the_chains(reader, engine):
    assert await reader.time_s() == int(engine.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)


async def test_an_endpoint_that_refuses_is_no_contract_that_does(reader, wire):
    def refuses(_method, _params):
        raise Refused(-32000, "header not found")

    wire.answer = refuses
    with pytest.raises(RpcError, match="header not found"):
        await reader.read("MarinaToken", "totalSupply")


async def test_silence_is_a_network_error(reader, wire, autojump_clock):
    wire.is_down = True
    with pytest.raises(ChainUnavailableError):
        await reader.read("MarinaToken", "totalSupply")


async def test_an_address_without_a_contract_is_said(reader):
    with pytest.raises(MarinaError):
        await reader.read_at(NOWHERE, "MarinaToken", "symbol")


@pytest.mark.parametrize("function", ["symbol", "decimals", "eip712Domain", "minter"])
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "00",
        "ff" * 32,
        "ff" * 96,
        (32).to_bytes(32).hex() + "ff" * 32,
        (32).to_bytes(32).hex() + (2).to_bytes(32).hex() + "fffe" + "00" * 30,
        (2**200).to_bytes(32).hex() * 4,
        (32).to_bytes(32).hex() + (42).to_bytes(32).hex() + b"0xZZ".ljust(64, b"Z").hex(),
    ],
)
async def test_a_token_that_answers_anything_raises_nothing_but_our_errors(function, answer, reader, wire):
    wire.answer = lambda method, _params: "0x" + answer
    try:
        found = await reader.read_at(NOWHERE, "MarinaToken", function)
    except MarinaError:
        return
    assert found is not None


async def test_a_text_that_looks_like_an_address_is_a_text(reader, wire):
    text = "0x" + "ab" * 20
    body = (32).to_bytes(32) + len(text).to_bytes(32) + text.encode().ljust(64, b"\0")
    wire.answer = lambda method, _params: "0x" + body.hex()
    assert await reader.read_at(NOWHERE, "MarinaToken", "symbol") == text


@pytest.mark.parametrize("block", [None, {}, {"timestamp": None}, {"timestamp": "soon"}, 7, []])
async def test_a_block_without_sense_tells_no_time(block, reader, wire):
    wire.answer = lambda _method, _params: block
    with pytest.raises(ChainUnavailableError):
        await reader.time_s()
