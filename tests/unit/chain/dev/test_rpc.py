from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.dev import rpc
from chain.dev.methods import WRITING
from tests.support.chains import RpcError
from tests.support.dev_engine import LOOPS, DevEngine


def call(method, *params, number=1):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def code(answer):
    return answer["error"]["code"]


def test_the_chain_says_what_it_is(chain):
    assert chain.rpc("eth_chainId") == "0x7a69"
    assert chain.rpc("net_version") == "31337"
    assert "development chain, one operator, no consensus" in chain.rpc("web3_clientVersion")
    assert (chain.rpc("eth_syncing"), chain.rpc("eth_accounts")) == (False, [])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe\xfd", b"nul", b'{"a":NaN}', b"[" * 200_000, b'{"a":' * 100_000, b"9" * 5000],
)
def test_what_is_no_json_is_a_parse_error(chain, body):
    assert code(json.loads(chain.rpc_server.handle(body))) == -32700


@pytest.mark.parametrize(
    "request_",
    [
        1,
        "eth_chainId",
        None,
        {},
        {"id": 1, "method": "eth_chainId"},
        {"jsonrpc": "1.0", "id": 1, "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": [], "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": True, "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": "x" * 257, "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        [],
    ],
)
def test_what_is_no_request_is_invalid(chain, request_):
    assert code(chain.ask(request_)) == -32600


def test_unknown_methods_are_named(chain):
    answer = chain.ask(call("eth_sendTransaction"))
    assert answer["error"] == {
        "code": -32601,
        "message": "the method eth_sendTransaction does not exist/is not available",
    }


def test_ids_come_back_as_they_were(chain):
    for identity in (0, -5, 1.5, "seven", None):
        assert chain.ask({**call("eth_chainId"), "id": identity})["id"] == identity


def test_a_notification_is_not_answered_but_executed(chain):
    notice = call("evm_mine")
    del notice["id"]
    assert chain.ask(notice) is None
    assert chain.ask([notice, notice]) is None
    assert chain.rpc("eth_blockNumber") == "0x3"


def test_a_batch_is_answered_in_its_order_each_for_itself(chain):
    answers = chain.ask(
        [call("eth_chainId", number=3), call("none", number=2), 5, call("eth_blockNumber", number=1)]
    )
    assert [each["id"] for each in answers] == [3, 2, None, 1]
    assert ["result" in each for each in answers] == [True, False, False, True]


def test_a_batch_has_at_most_a_hundred_calls(chain):
    assert len(chain.ask([call("eth_chainId")] * 100)) == 100
    assert code(chain.ask([call("evm_mine")] * 101)) == -32600
    assert chain.rpc("eth_blockNumber") == "0x0"


def test_a_body_has_at_most_a_mebibyte(chain):
    body = json.dumps(call("eth_chainId")).encode()
    assert b"result" in chain.rpc_server.handle(body + b" " * (rpc.BODY_BYTES_MAX - len(body)))
    assert code(json.loads(chain.rpc_server.handle(b" " * (rpc.BODY_BYTES_MAX + 1)))) == -32600


def test_a_batch_ends_in_time_and_what_comes_later_is_not_executed(funded, monkeypatch):
    address = funded.deploy(LOOPS)
    before = funded.rpc("eth_blockNumber")
    monkeypatch.setattr(rpc, "REQUEST_TIMEOUT_S", 0.3)
    answers = funded.ask([call("eth_call", {"to": address}), call("evm_mine"), call("eth_chainId")])
    assert [code(each) for each in answers] == [-32002] * 3
    assert funded.rpc("eth_blockNumber") == before


def test_a_batch_whose_answer_grows_too_large_is_cut(chain, monkeypatch):
    monkeypatch.setattr(rpc, "REPLY_BYTES_MAX", 100)
    answers = chain.ask([call("eth_getBlockByNumber", "latest"), call("eth_chainId")])
    assert ("result" in answers[0], code(answers[1])) == (True, -32002)


def test_a_fault_of_ours_is_logged_and_says_nothing_inside(chain, monkeypatch, caplog):
    monkeypatch.setattr(chain.engine, "head", lambda: 1 // 0)
    answer = chain.ask(call("eth_blockNumber"))
    assert code(answer) == -32603
    assert "division" not in answer["error"]["message"]
    assert "ZeroDivisionError" in caplog.text


def test_what_changes_the_chain_is_told_apart(chain):
    for method in WRITING:
        assert chain.rpc_server.may_change(json.dumps(call(method)).encode())
    assert not chain.rpc_server.may_change(json.dumps(call("eth_call")).encode())
    assert set(chain.rpc_server._methods.table) >= WRITING


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBlockByHash", ["0x" + "ab" * 32, True]),
        ("eth_getBlockByNumber", ["0xffff", False]),
        ("eth_getBlockReceipts", ["0xffff"]),
        ("eth_getBlockTransactionCountByHash", ["0x" + "ab" * 32]),
        ("eth_getTransactionByHash", ["0x" + "ab" * 32]),
        ("eth_getTransactionReceipt", ["0x" + "ab" * 32]),
        ("eth_getTransactionByBlockNumberAndIndex", ["0x0", "0x0"]),
        ("eth_getTransactionByBlockHashAndIndex", ["0x" + "ab" * 32, "0x0"]),
    ],
)
def test_what_is_not_there_is_null(chain, method, params):
    assert chain.rpc(method, *params) is None


@pytest.mark.parametrize("method", ["eth_getBalance", "eth_getCode", "eth_getTransactionCount"])
def test_state_of_a_block_that_is_not_there_is_an_error(chain, method):
    with pytest.raises(RpcError) as caught:
        chain.rpc(method, "0x" + "22" * 20, "0xffff")
    assert caught.value.message == "header not found"


def test_a_transaction_is_found_by_its_place(funded):
    receipt = funded.send(to="0x" + "22" * 20)
    shown = funded.rpc("eth_getTransactionByHash", receipt["transactionHash"])
    assert funded.rpc("eth_getTransactionByBlockHashAndIndex", receipt["blockHash"], "0x0") == shown
    assert funded.rpc("eth_getTransactionByBlockNumberAndIndex", receipt["blockNumber"], "0x0") == shown
    block = funded.rpc("eth_getBlockByNumber", receipt["blockNumber"], True)
    assert block["transactions"] == [shown]
    assert funded.rpc("eth_getBlockByHash", block["hash"], False)["transactions"] == [shown["hash"]]


def test_every_block_tag_is_known(chain):
    chain.rpc("evm_mine", 2)
    numbers = {
        tag: chain.rpc("eth_getBlockByNumber", tag, False)["number"]
        for tag in ("latest", "safe", "finalized", "pending", "earliest")
    }
    assert numbers == {
        "latest": "0x2",
        "safe": "0x2",
        "finalized": "0x2",
        "pending": "0x2",
        "earliest": "0x0",
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    chain = DevEngine(tmp_path_factory.mktemp("chain"))
    yield chain
    chain.close()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["latest", "0x0", "0x1", "0x" + "22" * 20, "0x" + "ab" * 32, "0x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["to", "data", "from", "topics", "address", "fromBlock", "gas", "value"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(data=st.data())
def test_no_parameters_make_the_chain_fail(shared, data):
    method = data.draw(st.sampled_from(sorted(shared.rpc_server._methods.table)))
    answer = shared.ask(
        {"jsonrpc": "2.0", "id": 1, "method": method, "params": data.draw(st.lists(JSON, max_size=4) | JSON)}
    )
    assert "result" in answer or code(answer) in (-32602, -32000, -32005, 3), answer
