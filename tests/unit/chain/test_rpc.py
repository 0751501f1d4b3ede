"""The pool over endpoints that are well, silent, slow, foreign, rate limited, broken, or lying."""

from __future__ import annotations

import gzip
import json
import logging

import httpx
import pytest
import trio

from chain.endpoint import BODY_BYTES_MAX
from chain.errors import ChainUnavailableError, EndpointsDisagreeError, RpcError, WrongChainError
from chain.profiles import PROFILES
from marina.errors import UsageError
from tests.support.wire import Refused, Wire, instead, pool_over

A = "https://one.example/v3/SECRETKEY?token=HIDDEN"
B = "https://two.example/rpc"
C = "https://three.example/rpc"
ETHEREUM = PROFILES["ethereum"]
BLOCK = ("eth_getBlockByNumber", ["0x5", False])


def says(value):
    return Wire(lambda _method, _params: value)


def foreign(chain_id):
    return Wire(lambda _method, _params: "0x1", chain_id=chain_id)


async def test_the_first_endpoint_answers_as_long_as_it_is_well():
    wires = {A: says("0x1"), B: says("0x2")}
    pool = pool_over(wires)
    assert [await pool.call("eth_blockNumber", []) for _ in range(3)] == ["0x1"] * 3
    assert wires[B].requests == []


async def test_the_chain_is_asked_for_once_before_anything_else():
    wire = says("0x1")
    pool = pool_over({A: wire})
    await pool.call("eth_blockNumber", [])
    await pool.call("eth_blockNumber", [])
    assert wire.requests == [["eth_chainId"], ["eth_blockNumber"], ["eth_blockNumber"]]


async def test_the_chain_is_asked_for_again_after_a_fault(autojump_clock):
    wire = says("0x1")
    pool = pool_over({A: wire})
    await pool.call("eth_blockNumber", [])
    wire.spoil = instead("<html>bad gateway</html>")
    with pytest.raises(ChainUnavailableError):
        await pool.call("eth_blockNumber", [])
    wire.spoil, wire.chain_id = None, 1  # another server stands behind the address now
    with pytest.raises(WrongChainError, match="is of chain 1, not of 31337"):
        await pool.call("eth_blockNumber", [])


async def test_an_endpoint_of_another_chain_is_passed_over():
    pool = pool_over({A: foreign(1), B: says("0x7")})
    assert await pool.call("eth_blockNumber", []) == "0x7"
    assert [each.is_well for each in pool.states()] == [False, True]


async def test_only_foreign_endpoints_are_the_wrong_chain():
    wires = {A: foreign(1), B: foreign(5)}
    pool = pool_over(wires)
    with pytest.raises(WrongChainError) as caught:
        await pool.call("eth_sendRawTransaction", ["0x00"])
    assert caught.value.exit_code == 5
    assert wires[A].asked == wires[B].asked == [], "nothing but the chain's id was asked"
    with pytest.raises(WrongChainError):
        await pool.agreed(*BLOCK)


async def test_a_silent_endpoint_gives_way_to_the_next_and_is_left_alone_for_a_while(autojump_clock):
    wires = {A: says("0x1"), B: says("0x2")}
    wires[A].is_down = True
    pool = pool_over(wires)
    assert await pool.call("eth_blockNumber", []) == "0x2"
    wires[A].is_down = False
    assert await pool.call("eth_blockNumber", []) == "0x2"
    await trio.sleep(6)
    assert await pool.call("eth_blockNumber", []) == "0x1"


async def test_a_slow_endpoint_costs_its_deadline_and_no_more(autojump_clock):
    wires = {A: says("0x1"), B: says("0x2")}
    wires[A].delay_s = 1000
    pool = pool_over(wires, timeout_s=2.0)
    started = trio.current_time()
    assert await pool.call("eth_blockNumber", []) == "0x2"
    assert trio.current_time() - started == pytest.approx(2.0)


async def test_a_chain_that_comes_back_within_the_retries_is_not_noticed(autojump_clock):
    wire = says("0x1")
    faults = iter([httpx.Response(502, text="<h1>502</h1>")] * 2)
    wire.spoil = lambda _request, response: next(faults, response)
    assert await pool_over({A: wire}).call("eth_blockNumber", []) == "0x1"


async def test_a_chain_that_stays_away_is_said_in_one_sentence(autojump_clock):
    wire = says("0x1")
    wire.is_down = True
    with pytest.raises(ChainUnavailableError, match="free music plays on") as caught:
        await pool_over({A: wire}).call("eth_blockNumber", [])
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (instead("<!doctype html><p>Welcome"), "a web page"),
        (instead("<html>", status=403), "does not let this node in"),
        (instead("nothing here", status=404), "HTTP 404"),
        (instead("", status=301, headers={"location": "https://elsewhere.example"}), "no JSON"),
        (instead("not json"), "no JSON"),
        (instead("7"), "no JSON"),
        (instead(b"\xff\xfe"), "no JSON"),
        (instead("NaN"), "no JSON"),
        (instead("[" * 100_000), "no JSON"),
        (instead("9" * 5000), "no JSON"),
        (instead("{}"), "something else than was asked"),
        (instead("[]"), "something else than was asked"),
        (instead("[1, null]"), "something else than was asked"),
        (instead('{"id": [], "result": 1}'), "something else than was asked"),
        (instead('{"id": true, "result": 1}'), "something else than was asked"),
        (instead('{"id": 99, "result": 1}'), "something else than was asked"),
        (instead('{"id": "0", "result": 1}'), "something else than was asked"),
        (instead('{"id": null, "error": 5}'), "an error without words"),
        (instead(gzip.compress(b"0" * 10**6), headers={"content-encoding": "gzip"}), "compresses"),
    ],
)
async def test_an_answer_that_is_none_is_a_fault_of_that_endpoint_alone(spoil, words, autojump_clock):
    wires = {A: says("0x1"), B: says("0x2")}
    wires[A].spoil = spoil
    pool = pool_over(wires)
    assert await pool.call("eth_blockNumber", []) == "0x2"
    assert words in pool.states()[0].fault


async def test_a_result_without_a_result_is_a_fault(autojump_clock):
    wires = {A: says("0x1"), B: says("0x2")}

    def empty(_request, response):
        reply = response.json()
        return response if reply["result"] == "0x7a69" else httpx.Response(200, json={"id": reply["id"]})

    wires[A].spoil = empty
    pool = pool_over(wires)
    assert await pool.call("eth_blockNumber", []) == "0x2"
    assert "neither a result nor an error" in pool.states()[0].fault


async def test_a_body_over_the_limit_is_not_read_to_its_end(autojump_clock):
    sent = 0

    async def flood():
        nonlocal sent
        while True:
            sent += 1 << 20
            await trio.lowlevel.checkpoint()
            yield b" " * (1 << 20)

    wires = {A: says("0x1"), B: says("0x2")}
    wires[A].spoil = lambda _request, _response: httpx.Response(200, content=flood())
    pool = pool_over(wires)
    assert await pool.call("eth_blockNumber", []) == "0x2"
    assert "more than 32 MiB" in pool.states()[0].fault
    assert sent <= BODY_BYTES_MAX + (2 << 20)


async def test_a_long_answer_is_read_whole():
    value = ["0x" + "ab" * 32] * 10_000
    assert await pool_over({A: says(value)}).call("eth_getLogs", []) == value


async def test_retry_after_is_kept_even_when_nobody_else_is_there(autojump_clock):
    wire = says("0x1")
    wire.spoil = instead("slow down", status=429, headers={"retry-after": "2"})
    pool = pool_over({A: wire}, tries_max=2)
    started = trio.current_time()

    async def get_well():
        await trio.sleep(1)
        wire.spoil = None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get_well)
        assert await pool.call("eth_blockNumber", []) == "0x1"
    assert trio.current_time() - started >= 2


async def test_a_long_pause_is_not_waited_for_and_not_disturbed(autojump_clock):
    wire = says("0x1")
    wire.spoil = instead("slow down", status=429, headers={"retry-after": "45"})
    pool = pool_over({A: wire})
    for _ in range(3):
        with pytest.raises(ChainUnavailableError, match="asks for a pause"):
            await pool.call("eth_blockNumber", [])
    assert len(wire.requests) == 1
    wire.spoil = None
    await trio.sleep(46)
    assert await pool.call("eth_blockNumber", []) == "0x1"


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "-5", "1e400", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_an_odd_retry_after_is_a_short_pause(header, autojump_clock):
    wire = says("0x1")
    wire.spoil = instead("", status=429, headers={"retry-after": header})
    pool = pool_over({A: wire})
    with pytest.raises(ChainUnavailableError):
        await pool.call("eth_blockNumber", [])
    wire.spoil = None
    await trio.sleep(1.5)
    assert await pool.call("eth_blockNumber", []) == "0x1"


async def test_a_json_rpc_rate_limit_goes_to_the_next_endpoint(autojump_clock):
    def limited(_method, _params):
        raise Refused(-32005, "daily request count exceeded, request rate limited")

    pool = pool_over({A: Wire(limited), B: says("0x2")})
    assert await pool.call("eth_blockNumber", []) == "0x2"


async def test_too_many_results_are_a_refusal_and_not_a_rate_limit():
    def limited(_method, _params):
        raise Refused(-32005, "query returned more than 10000 results")

    with pytest.raises(RpcError, match="more than 10000 results"):
        await pool_over({A: Wire(limited)}).call("eth_getLogs", [{}])


async def test_a_refusal_is_told_with_code_words_and_data_and_is_not_retried():
    def refuse(_method, _params):
        raise Refused(3, "execution\nreverted\x1b[31m" + "x" * 1000, {"data": "0x08c379a0"})

    wires = {A: Wire(refuse), B: says("0x2")}
    with pytest.raises(RpcError) as caught:
        await pool_over(wires).call("eth_call", [{}, "latest"])
    assert (caught.value.rpc_code, caught.value.data) == (3, bytes.fromhex("08c379a0"))
    assert caught.value.message.startswith("execution reverted [31m")
    assert len(caught.value.message) == 300
    assert wires[B].requests == []


async def test_a_refusal_after_another_endpoint_failed_is_not_alone(autojump_clock):
    def refuse(_method, _params):
        raise Refused(-32000, "nonce too low")

    wires = {A: says("0x1"), B: Wire(refuse)}
    with pytest.raises(RpcError) as caught:
        await pool_over({B: wires[B]}).call("eth_sendRawTransaction", ["0x"])
    assert caught.value.is_alone
    wires[A].loses_answers = True
    with pytest.raises(RpcError) as caught:
        await pool_over(wires).call("eth_sendRawTransaction", ["0x"])
    assert not caught.value.is_alone


async def test_a_batch_keeps_its_order_and_has_refusals_in_their_places():
    def answer(method, params):
        if params == [3]:
            raise Refused(-32000, "not this one")
        return [method, *params]

    wire = Wire(answer)

    def shuffled(_request, response):
        reply = response.json()
        return httpx.Response(200, json=reply[::-1] if isinstance(reply, list) else reply)

    wire.spoil = shuffled
    answers = await pool_over({A: wire}).batch([("m", [n]) for n in range(250)])
    assert [each for n, each in enumerate(answers) if n != 3] == [["m", n] for n in range(250) if n != 3]
    assert isinstance(answers[3], RpcError)
    assert [len(each) for each in wire.requests] == [1, 100, 100, 50]


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 0)])
async def test_a_batch_with_answers_missing_is_a_fault(cut, autojump_clock):
    wires = {A: says("0x1"), B: says("0x2")}

    def shortened(_request, response):
        reply = response.json()
        return httpx.Response(200, json=reply[cut] if isinstance(reply, list) else reply)

    wires[A].spoil = shortened
    assert await pool_over(wires).batch([("m", [])] * 3) == ["0x2"] * 3


async def test_a_doubled_answer_in_a_batch_is_a_fault(autojump_clock):
    wires = {A: says("0x1"), B: says("0x2")}

    def doubled(_request, response):
        reply = response.json()
        return httpx.Response(200, json=[reply[0], reply[0]] if isinstance(reply, list) else reply)

    wires[A].spoil = doubled
    assert await pool_over(wires).batch([("m", [])] * 2) == ["0x2"] * 2


async def test_an_endpoint_without_batches_refuses_each_call_of_one():
    wire = says("0x1")

    def whole(_request, response):
        if not isinstance(response.json(), list):
            return response
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batches are off"}}
        return httpx.Response(200, json=error)

    wire.spoil = whole
    answers = await pool_over({A: wire}).batch([("m", [])] * 2)
    assert [str(each) for each in answers] == ["the chain's endpoint refused: batches are off"] * 2


async def test_what_two_endpoints_say_alike_is_agreed():
    wires = {A: says({"hash": "0x1"}), B: says({"hash": "0x1"}), C: says({"hash": "0x2"})}
    for wire in wires.values():
        wire.chain_id = 1
    pool = pool_over(wires, profile=ETHEREUM)
    assert await pool.agreed(*BLOCK) == {"hash": "0x1"}
    assert wires[C].requests == []


async def test_different_hashes_of_one_block_are_told_and_nothing_is_taken():
    wires = {A: says({"hash": "0x1"}), B: says({"hash": "0x2"})}
    for wire in wires.values():
        wire.chain_id = 1
    with pytest.raises(
        EndpointsDisagreeError, match=r"one\.example and .*two\.example tell different"
    ) as caught:
        await pool_over(wires, profile=ETHEREUM).agreed(*BLOCK)
    assert caught.value.exit_code == 7


async def test_one_operator_cannot_agree_with_itself():
    twin = "https://one.example/v3/OTHERKEY"
    wires = {A: says("0x1"), twin: says("0x1")}
    for wire in wires.values():
        wire.chain_id = 1
    pool = pool_over(wires, profile=ETHEREUM)
    assert pool.operators == 1
    with pytest.raises(ChainUnavailableError, match="2 independent endpoints must agree and 1 of 2"):
        await pool.agreed(*BLOCK)


async def test_a_third_endpoint_stands_in_where_one_lags_or_is_away():
    def lags(_method, _params):
        raise Refused(-32000, "header not found")

    wires = {A: says("0x1"), B: Wire(lags), C: says("0x1")}
    for wire in wires.values():
        wire.chain_id = 1
    assert await pool_over(wires, profile=ETHEREUM).agreed(*BLOCK) == "0x1"
    wires[B].is_down = True
    assert await pool_over(wires, profile=ETHEREUM).agreed(*BLOCK) == "0x1"
    wires[C].is_down = wires[A].is_down = True
    wires[B].is_down = False
    with pytest.raises(RpcError, match="header not found"):
        await pool_over(wires, profile=ETHEREUM).agreed(*BLOCK)


async def test_the_development_chain_is_believed_alone():
    assert await pool_over({A: says("0x1")}).agreed(*BLOCK) == "0x1"


async def test_no_part_of_an_address_but_its_host_is_ever_told(autojump_clock, caplog):
    caplog.set_level(logging.DEBUG, logger="marina")
    wire = says("0x1")
    pool = pool_over({A: wire})
    told = [repr(pool.states())]
    for spoil in (instead("<html>"), instead("", status=429), instead("", status=401)):
        wire.spoil = spoil
        with pytest.raises(ChainUnavailableError) as caught:
            await pool.call("eth_blockNumber", [])
        told += [str(caught.value), repr(pool.states())]
        await trio.sleep(60)
    wire.is_down, wire.spoil = True, None
    with pytest.raises(ChainUnavailableError) as caught:
        await pool.call("eth_blockNumber", [])
    told += [str(caught.value), *(json.dumps(str(each.__dict__)) for each in caplog.records)]
    assert "one.example" in told[0]
    assert not [each for each in told if "SECRET" in each or "HIDDEN" in each]


async def test_libraries_below_tell_no_addresses_in_the_log_of_a_daemon(capsys):
    from marina.log import set_up

    kept = logging.getLogger().handlers[:], logging.getLogger().level
    set_up("DEBUG")
    try:
        await pool_over({A: says("0x1")}).call("eth_blockNumber", [])
    finally:
        logging.getLogger().handlers[:] = kept[0]
        logging.getLogger().setLevel(kept[1])
        logging.getLogger("marina").setLevel(logging.NOTSET)
    assert "SECRET" not in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 9])
def test_a_pool_has_one_to_eight_endpoints(count):
    with pytest.raises(UsageError, match="from one to 8"):
        pool_over({f"https://{n}.example": says("0x1") for n in range(count)})


async def test_a_closed_pool_opens_its_connections_again():
    pool = pool_over({A: says("0x1")})
    await pool.call("eth_blockNumber", [])
    await pool.aclose()
    assert await pool.call("eth_blockNumber", []) == "0x1"
