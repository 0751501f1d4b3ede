"""The plan of a deployment, and the proof that a set on a chain is this version's, on a real EVM."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from chain.artifacts import NAMES, artifact, encode_call, encode_creation
from chain.contracts import ContractSet, create_address, read_contracts
from chain.deployment import TIMELOCK_DELAY_S, plan_deployment, verify_contracts
from chain.dev import genesis
from chain.errors import ChainUnavailableError, RpcError
from marina.errors import DamagedError, MalformedError, NotFoundError
from marina.ids import Account, account_text
from tests.support.chains import RpcError as EngineError
from tests.support.dev_engine import COIN, DevEngine

STRANGER = Account(b"\x44" * 20)
SET = genesis.dev_contracts()


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    made = DevEngine(
        tmp_path_factory.mktemp("deployment"), funded=genesis.funded(), predeploy=genesis.deploy_contracts
    )
    made.fund()
    yield made
    made.close()


class Chain:
    """The engine as verification asks it, with answers that a test changes."""

    def __init__(self, engine):
        self._engine = engine
        self.changes = {}
        self.asked = 0

    async def call(self, method, params):
        self.asked += 1
        try:
            found = self._engine.rpc(method, *params)
        except EngineError as err:
            raise RpcError(err.code, err.message) from err
        change = self.changes.get(method)
        return found if change is None else change(params, found)


@pytest.fixture
def chain(engine):
    return Chain(engine)


async def test_the_deployed_set_is_this_version(chain):
    await verify_contracts(chain, SET, genesis.deployer())


def test_a_plan_says_its_addresses_beforehand():
    plan = plan_deployment(STRANGER, 7, STRANGER)
    assert [each.nonce for each in plan.steps] == list(range(7, 17))
    assert list(plan.contracts.named().values()) == [create_address(STRANGER, n) for n in range(7, 14)]
    assert [each.to is None for each in plan.steps] == [True] * 7 + [False] * 3


def test_the_address_of_a_creation_is_the_yellow_papers():
    # A deployer of mainnet and what it made.
    deployer = Account(bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"))
    wanted = (
        "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d",
        "343c43a37d37dff08ae8c4a11544c718abb4fcf8",
        "f778b86fa74e846c4f0a1fbd1335fe81c00a0c91",
    )
    assert [create_address(deployer, n).hex() for n in range(3)] == list(wanted)


@pytest.mark.parametrize("name", NAMES)
async def test_one_changed_byte_of_code_is_noticed(name, chain):
    address = SET.named()[name]

    def tampered(params, code):
        if params[0] != account_text(address):
            return code
        raw = bytearray.fromhex(code[2:])
        raw[len(raw) // 3] ^= 1
        return "0x" + raw.hex()

    chain.changes["eth_getCode"] = tampered
    with pytest.raises(DamagedError, match=f"another contract where {name} should be"):
        await verify_contracts(chain, SET)


@pytest.mark.parametrize("change", [lambda code: code + "00", lambda code: code[:-2], lambda _: "0x"])
async def test_longer_shorter_or_no_code_is_noticed(change, chain):
    chain.changes["eth_getCode"] = lambda _, code: change(code)
    with pytest.raises(DamagedError, match=r"no contract|another contract"):
        await verify_contracts(chain, SET)


@pytest.mark.parametrize("field", list(asdict(SET)))
async def test_a_set_with_one_address_elsewhere_is_refused(field, chain):
    with pytest.raises(DamagedError, match="there is no contract where"):
        await verify_contracts(chain, replace(SET, **{field: STRANGER}))


async def test_sets_are_not_mixed(engine, chain):
    """Each contract of a second deployment is right in itself and wired to the second one's others."""
    plan = plan_deployment(Account(bytes.fromhex(engine.account.address[2:])), engine.nonce(), STRANGER)
    for step in plan.steps:
        receipt = engine.send(
            **({} if step.to is None else {"to": account_text(step.to)}),
            data="0x" + step.data.hex(),
            gas=12_000_000,
        )
        assert receipt["status"] == "0x1", step.summary
    other = plan.contracts
    await verify_contracts(chain, other, Account(bytes.fromhex(engine.account.address[2:])))
    for field in asdict(SET):
        with pytest.raises(DamagedError, match=r"is wired to|may not"):
            await verify_contracts(chain, replace(SET, **{field: getattr(other, field)}))


def created(engine, name, *args):
    receipt = engine.send(data="0x" + encode_creation(name, *args).hex(), gas=12_000_000)
    assert receipt["status"] == "0x1"
    return Account(bytes.fromhex(receipt["contractAddress"][2:]))


async def test_a_token_that_somebody_can_make_more_of_is_refused(engine, chain):
    token = created(engine, "MarinaToken", bytes(STRANGER), bytes(STRANGER))
    with pytest.raises(
        DamagedError, match="MarinaToken is wired to 0x4444444444444444444444444444444444444444 as"
    ):
        await verify_contracts(chain, replace(SET, token=token))


class Own:
    """A deployment of somebody who wants a power left over."""

    def __init__(self, engine, *, delay_s=TIMELOCK_DELAY_S):
        self.engine = engine
        self.me = Account(bytes.fromhex(engine.account.address[2:]))
        plan = plan_deployment(self.me, engine.nonce(), self.me)
        for step in plan.steps[:9]:
            data = step.data
            if step.nonce == plan.steps[0].nonce:
                data = encode_creation("TimelockController", delay_s, [], [bytes(20)], bytes(self.me))
            engine.send(
                **({} if step.to is None else {"to": account_text(step.to)}),
                data="0x" + data.hex(),
                gas=12_000_000,
            )
        self.contracts: ContractSet = plan.contracts
        self.last = plan.steps[9]

    def role(self, function, role, who):
        data = encode_call("TimelockController", function, role, bytes(who))
        to = account_text(self.contracts.timelock)
        assert self.engine.send(to=to, data="0x" + data.hex())["status"] == "0x1"

    def finish(self):
        to = account_text(self.contracts.timelock)
        assert self.engine.send(to=to, data="0x" + self.last.data.hex())["status"] == "0x1"


async def test_powers_left_over_are_found_also_when_nobody_says_who_deployed(engine, chain):
    from eth_hash.auto import keccak

    own = Own(engine)
    with pytest.raises(DamagedError, match=f"{account_text(own.me)} may administer in the timelock"):
        await verify_contracts(chain, own.contracts)
    proposer = keccak(b"PROPOSER_ROLE")
    own.role("grantRole", proposer, STRANGER)
    own.role("grantRole", b"\x07" * 32, STRANGER)
    own.role("revokeRole", b"\x07" * 32, STRANGER)
    own.finish()
    with pytest.raises(DamagedError, match=f"{account_text(STRANGER)} may propose in the timelock"):
        await verify_contracts(chain, own.contracts)


async def test_a_timelock_that_waits_less_is_refused(engine, chain):
    own = Own(engine, delay_s=60)
    own.finish()
    with pytest.raises(DamagedError, match="the timelock waits 60 seconds only"):
        await verify_contracts(chain, own.contracts)


async def test_an_endpoint_that_looks_through_few_blocks_at_once_is_asked_in_parts(chain):
    def few(params, found):
        (query,) = params
        if int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= 4:
            raise RpcError(-32005, "block range is too wide")
        return found

    chain.changes["eth_getLogs"] = few
    await verify_contracts(chain, SET, genesis.deployer())
    chain.changes["eth_blockNumber"] = lambda *_: hex(10**9)
    chain.asked = 0
    with pytest.raises(ChainUnavailableError, match="looks through too few blocks"):
        await verify_contracts(chain, SET)
    assert chain.asked < 2100


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("eth_getCode", None),
        ("eth_getCode", "zz"),
        ("eth_call", "0x"),
        ("eth_call", "0x1"),
        ("eth_call", 5),
        ("eth_call", "0x" + "ff" * 32),
        ("eth_blockNumber", None),
        ("eth_blockNumber", "0xzz"),
        ("eth_getLogs", None),
        ("eth_getLogs", [None]),
        ("eth_getLogs", [{"topics": ["0x"] * 4}]),
        ("eth_getLogs", [{"topics": "0x1234"}]),
    ],
)
async def test_answers_without_sense_prove_nothing(method, answer, chain):
    chain.changes[method] = lambda *_: answer
    with pytest.raises(DamagedError):
        await verify_contracts(chain, SET)


def test_a_contracts_file_says_where_the_set_is_and_of_which_chain(tmp_path):
    path = tmp_path / "contracts.json"
    path.write_text(SET.to_json(137))
    assert read_contracts(path, 137) == SET
    with pytest.raises(MalformedError, match="of chain 137, not of 1"):
        read_contracts(path, 1)
    with pytest.raises(NotFoundError, match="marina chain deploy"):
        read_contracts(tmp_path / "none.json", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"chain_id": 1}',
        '{"chain_id": 1, "contracts": 5}',
        '{"chain_id": 1, "contracts": {}}',
        '{"chain_id": 1, "contracts": {"token": "0x12"}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_what_is_no_contracts_file_is_said(text, tmp_path):
    path = tmp_path / "contracts.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MalformedError, match="is not a file that 'marina chain deploy' wrote"):
        read_contracts(path, 1)


def test_runtime_code_has_zeros_where_immutable_values_go():
    made = artifact("MusicLicensing")
    assert made.masked(made.deployed) == made.deployed
    start, length = made.immutables[0]
    changed = bytearray(made.deployed)
    changed[start : start + length] = b"\xff" * length
    assert made.masked(bytes(changed)) == made.deployed


def test_coins_of_the_first_block_are_there(engine):
    assert int(engine.rpc("eth_getBalance", account_text(genesis.treasurer()), "latest"), 16) == 1000 * COIN
