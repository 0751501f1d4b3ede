"""``marina chain dev`` as a process, driven over HTTP: by hand, and by web3.py as an independent client."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, Web3RPCError
from web3.middleware import SignAndSendRawMiddlewareBuilder

from chain.artifacts import artifact
from chain.dev.genesis import TREASURER_KEY
from tests.support.chains import DevChain, RpcError, dev_chain
from tests.support.daemons import MARINA, end, environment
from tests.support.dev_engine import CALLS_ITSELF, COIN, creation, reverting

ROOT = Path(__file__).parents[2]
OTHER = "0x" + "22" * 20
READY_S = 5.0
HEADERS = {"content-type": "application/json"}
CHAIN_ID_CALL = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    with dev_chain(tmp_path_factory.mktemp("devchain")) as running:
        yield running


@pytest.fixture
def raw(chain):
    with httpx.Client(base_url=chain.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def web3(chain):
    """A client of web3.py that signs for an account of its own with 100 coins."""
    account = Account.create()
    chain.fund(account.address)
    client = Web3(Web3.HTTPProvider(chain.url))
    client.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    client.eth.default_account = account.address
    yield client
    client.provider._request_session_manager.session_cache.clear()


def deploy(web3, name, *arguments):
    made = artifact(name)
    contract = web3.eth.contract(abi=list(made.abi), bytecode=made.bytecode)
    receipt = web3.eth.wait_for_transaction_receipt(contract.constructor(*arguments).transact())
    assert receipt.status == 1
    return web3.eth.contract(address=receipt.contractAddress, abi=list(made.abi))


def test_the_process_says_what_it_is_and_where(chain):
    facts = chain.facts
    assert (facts["url"], facts["chainId"], facts["pid"]) == (chain.url, 31337, chain.pid)
    assert facts["label"] == "development chain, one operator, no consensus"
    for address in facts["contracts"].values():
        assert chain.rpc("eth_getCode", address) != "0x"


@pytest.mark.parametrize(
    ("headers", "method", "path", "status"),
    [
        ({}, "POST", "/", 200),
        ({"content-type": "application/json; charset=utf-8"}, "POST", "/", 200),
        ({"host": "localhost"}, "POST", "/", 421),
        ({"host": "evil.example:8545"}, "POST", "/", 421),
        ({"origin": "https://evil.example"}, "POST", "/", 403),
        ({"sec-fetch-site": "cross-site"}, "POST", "/", 403),
        ({"content-type": "text/plain"}, "POST", "/", 415),
        ({}, "GET", "/", 405),
        ({}, "OPTIONS", "/", 405),
        ({}, "POST", "/rpc", 404),
    ],
)
def test_only_declared_json_that_is_meant_for_it_is_answered(raw, headers, method, path, status):
    answer = raw.request(method, path, headers={**HEADERS, **headers}, content=CHAIN_ID_CALL)
    assert answer.status_code == status
    assert ("0x7a69" in answer.text) == (status == 200)


def test_a_name_that_resolves_here_is_no_name_of_the_chain(chain):
    """DNS rebinding: a page's own host name, pointed at 127.0.0.1."""
    with socket.create_connection(("127.0.0.1", chain.port), timeout=5) as connection:
        head = f"POST / HTTP/1.1\r\nHost: rebound.example:{chain.port}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(CHAIN_ID_CALL)}\r\n\r\n".encode() + CHAIN_ID_CALL)
        assert connection.recv(4096).startswith(b"HTTP/1.1 421")


def test_a_body_above_a_mebibyte_is_refused(raw):
    assert raw.post("/", headers=HEADERS, content=b" " * ((1 << 20) + 1)).status_code == 413
    assert raw.post("/", headers=HEADERS, content=CHAIN_ID_CALL + b" " * 1000).json()["result"] == "0x7a69"


def test_a_body_of_brackets_does_not_end_the_process(raw):
    for body in (b"[" * 1_000_000, b'{"a":' * 200_000):
        assert raw.post("/", headers=HEADERS, content=body).json()["error"]["code"] == -32700
    assert raw.post("/", headers=HEADERS, content=CHAIN_ID_CALL).json()["result"] == "0x7a69"


def test_batches_and_notifications_go_over_http(raw):
    call = json.loads(CHAIN_ID_CALL)
    answers = raw.post("/", json=[call, {**call, "id": 2, "method": "none"}]).json()
    assert [each.get("result") or each["error"]["code"] for each in answers] == ["0x7a69", -32601]
    notice = raw.post("/", json={"jsonrpc": "2.0", "method": "eth_chainId"})
    assert (notice.status_code, notice.content) == (204, b"")


def test_a_deep_recursion_does_not_end_the_process(chain):
    """The EVM runs in a thread, whose stack is smaller than the main one's may be."""
    fields = {"data": creation(CALLS_ITSELF)}
    runtime = chain.rpc("eth_call", fields)
    overrides = {OTHER: {"code": runtime}}
    assert chain.rpc("eth_call", {"to": OTHER}, "latest", overrides) == "0x"
    assert chain.rpc("eth_chainId") == "0x7a69"


def test_web3_deploys_calls_and_reads_events(web3):
    owner = web3.eth.default_account
    token = deploy(web3, "MarinaToken", owner, owner)
    assert token.functions.totalSupply().call() == 10**24
    receipt = web3.eth.wait_for_transaction_receipt(token.functions.transfer(OTHER, 5).transact())
    assert (receipt.status, token.functions.balanceOf(OTHER).call()) == (1, 5)
    (event,) = token.events.Transfer().process_receipt(receipt)
    assert (event.args["from"], int(event.args.to, 16), event.args.value) == (owner, int(OTHER, 16), 5)
    assert token.events.Transfer().get_logs(from_block=receipt.blockNumber) == [event]
    before = receipt.blockNumber - 1
    assert token.functions.balanceOf(OTHER).call(block_identifier=before) == 0


def test_web3_sees_why_a_call_reverts(web3):
    token = deploy(web3, "MarinaToken", OTHER, OTHER)
    with pytest.raises(ContractCustomError) as custom:
        token.functions.transfer(OTHER, 5).call()
    selector = "0xe450d38c"  # ERC20InsufficientBalance(address,uint256,uint256)
    assert str(custom.value.data).startswith(selector)
    with pytest.raises(ContractLogicError):
        token.functions.transfer(OTHER, 5).estimate_gas()
    text = "08c379a0" + f"{32:064x}{4:064x}" + b"mine".hex().ljust(64, "0")
    receipt = web3.eth.wait_for_transaction_receipt(
        web3.eth.send_transaction({"data": creation(reverting(text))})
    )
    with pytest.raises(ContractLogicError, match="execution reverted: mine"):
        web3.eth.call({"to": receipt.contractAddress})


def test_web3_chooses_fees_by_itself(web3):
    sent = web3.eth.send_transaction({"to": OTHER, "value": 1})
    transaction = web3.eth.get_transaction(web3.eth.wait_for_transaction_receipt(sent).transactionHash)
    assert transaction.type == 2
    history = web3.eth.fee_history(4, "latest", [10, 50])
    assert len(history.baseFeePerGas) == 5
    assert history.reward[-1] == [web3.eth.max_priority_fee] * 2
    assert web3.eth.gas_price == history.baseFeePerGas[-1] + web3.eth.max_priority_fee
    block = web3.eth.get_block("latest", full_transactions=True)
    assert block.transactions[0].hash == sent


def test_web3_gets_geths_words_for_what_is_refused(web3):
    poor = Account.create()
    raw = poor.sign_transaction(
        {
            "chainId": 31337,
            "nonce": 0,
            "gas": 21_000,
            "to": OTHER,
            "value": 1,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
        }
    ).raw_transaction
    with pytest.raises(Web3RPCError, match="insufficient funds for gas"):
        web3.eth.send_raw_transaction(raw)


def test_web3_moves_the_time(web3):
    before = web3.eth.get_block("latest").timestamp
    web3.provider.make_request("evm_increaseTime", [3600])
    web3.provider.make_request("evm_mine", [])
    assert web3.eth.get_block("latest").timestamp >= before + 3600


def test_a_vote_of_the_treasurers_tokens_can_be_delegated(chain):
    treasurer = Account.from_key(TREASURER_KEY)
    client = Web3(Web3.HTTPProvider(chain.url))
    client.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(treasurer), layer=0)
    token = client.eth.contract(address=chain.contracts["MarinaToken"], abi=list(artifact("MarinaToken").abi))
    sent = token.functions.delegate(treasurer.address).transact({"from": treasurer.address})
    assert client.eth.wait_for_transaction_receipt(sent).status == 1
    assert token.functions.getVotes(treasurer.address).call() == 10**24


CLIENT = """
    import sys, httpx
    from eth_account import Account
    url, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    account = Account.from_key(key)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        def rpc(method, *params):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            return client.post("/", json=body).json()["result"]
        rpc("marina_faucet", account.address)
        for nonce in range(count):
            fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1}
            fields = {"chainId": 31337, "nonce": nonce, "gas": 21000, "to": "0x" + "44" * 20, "value": 1}
            raw = account.sign_transaction(fields | fees).raw_transaction
            sent = rpc("eth_sendRawTransaction", "0x" + raw.hex())
            assert rpc("eth_getTransactionReceipt", sent)["status"] == "0x1"
            assert rpc("eth_getTransactionCount", account.address, "latest") == hex(nonce + 1)
"""


def test_several_processes_use_one_chain_at_once(chain):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CLIENT), chain.url, "0x" + f"{number:064x}", "15"]
        )
        for number in (101, 102, 103)
    ]
    try:
        assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    assert int(chain.rpc("eth_getBalance", "0x" + "44" * 20), 16) == 45


@pytest.mark.slow
def test_a_slow_call_holds_a_transaction_up_only_once(chain):
    """Six endless calls of five seconds wait; a transaction sent after them is let in after the first."""
    loops = {OTHER: {"code": "0x5b600056"}}

    def call():
        with pytest.raises(RpcError, match="timeout"):
            chain.rpc("eth_call", {"to": OTHER}, "latest", loops, timeout_s=60)

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call) for _ in range(3)]
        time.sleep(0.5)
        started_s = time.monotonic()
        chain.fund("0x" + "55" * 20)
        took_s = time.monotonic() - started_s
        for each in calls:
            each.result()
    assert took_s < 7.5


def run(*words, **options):
    return subprocess.run(
        [MARINA, *words],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env=environment(),
        stdin=subprocess.DEVNULL,
        **options,
    )


def test_a_second_process_on_the_same_folder_is_refused_and_names_the_first(chain):
    done = run("chain", "dev", "--dir", str(chain.folder), "--port", "0")
    assert (done.returncode, f"process {chain.pid}" in done.stderr) == (1, True)


def test_a_taken_port_is_said_and_the_chain_is_left_whole(chain, tmp_path):
    done = run("chain", "dev", "--dir", str(tmp_path / "b"), "--port", str(chain.port), "--json")
    assert done.returncode == 1
    assert f"port {chain.port} is taken" in json.loads(done.stdout)["error"]["message"]
    again = DevChain(tmp_path / "b").start()
    assert again.stop() < 3


def test_the_chain_starts_in_time_stops_in_time_and_goes_on(tmp_path):
    chain = DevChain(tmp_path / "chain").start()
    try:
        assert chain.ready_s < READY_S
        chain.fund(OTHER)
        height = chain.rpc("eth_blockNumber")
        assert chain.process is not None
        assert end(chain.process, signal.SIGINT) < 3
        assert chain.process.returncode == 0
        assert not list(chain.folder.glob("*-wal"))
        chain.start()
        assert chain.ready_s < READY_S
        assert (chain.rpc("eth_blockNumber"), int(chain.rpc("eth_getBalance", OTHER), 16)) == (
            height,
            100 * COIN,
        )
        assert chain.folder.stat().st_mode & 0o077 == 0
    finally:
        chain.stop()
    done = run("chain", "dev", "--dir", str(chain.folder), "--port", "0", "--fresh")
    assert (done.returncode, "pass --yes" in done.stderr) == (5, True)
    try:
        chain.start("--fresh", "--yes")
        assert int(chain.rpc("eth_getBalance", OTHER), 16) == 0
    finally:
        chain.stop()
    with sqlite3.connect(chain.folder / "chain.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    done = run("chain", "dev", "--dir", str(chain.folder), "--port", "0")
    assert (done.returncode, "newer Marina" in done.stderr) == (1, True)
