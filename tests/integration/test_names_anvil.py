"""Money to a name on a real node: resolved once, shown with its address, and sent there and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from chain.errors import ChainUnavailableError
from chain.names import normal_name, resolve_name
from chain.profiles import PROFILES
from marina.clock import SystemClock
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, account_text
from marina.secret import Secret
from node.api.fields import Fields
from node.api.router import ApiContext
from node.api.routes_wallet import WalletRoutes
from node.chain.service import ChainService
from node.chain.things import parse_splits
from node.settings import ChainSettings, SpendSettings
from storage.identity.owner import Owner
from storage.identity.vault_file import KdfCost
from storage.kv import MemoryKv
from tests.support.anvil import anvil

pytestmark = pytest.mark.filterwarnings(
    # httpx leaves the body of a request that is cancelled to the garbage collector.
    "ignore:Async generator 'httpx._content.ByteStream:ResourceWarning"
)
COIN = 10**18
CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
REGISTRY, RESOLVER, ALICE, MALLORY = (Account(bytes([each]) * 20) for each in (0xE5, 0xE6, 0xA1, 0x3A))
TELLS = "6004355460005260206000f3"
"""Answers each question about a node with the word that its storage has there."""
OFF_CHAIN = "63556f183060e01b60005260046000fd"


@pytest.fixture(scope="module")
def node():
    with anvil() as running:
        running.rpc("anvil_setCode", account_text(REGISTRY), "0x" + TELLS)
        yield running


def point(node, contract: Account, name: str, to: bytes) -> None:
    """Let a contract answer with an address, or any word, when it is asked about a name."""
    from ens.utils import normal_name_to_hash

    slot = "0x" + bytes(normal_name_to_hash(normal_name(name))).hex()
    node.rpc("anvil_setStorageAt", account_text(contract), slot, "0x" + to.rjust(32, b"\0").hex())


def set_up(node, name: str, code: str = TELLS, to: bytes = ALICE) -> None:
    """Give a name a resolver of its own code."""
    node.rpc("anvil_setCode", account_text(RESOLVER), "0x" + code)
    point(node, REGISTRY, name, RESOLVER)
    point(node, RESOLVER, name, to)


@pytest.fixture
async def service(node, tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "dev", replace(PROFILES["dev"], ens_registry=REGISTRY))
    home = tmp_path / "home"
    home.mkdir()
    made = ChainService(
        settings=ChainSettings("dev", (node.url,), str(tmp_path / "none.json")),
        spend=SpendSettings(("20DEV",), ("20DEV",)),
        home=home,
        store=MemoryKv(),
        owner=Owner.create(home, Secret("correct horse battery"), clock=SystemClock(), cost=CHEAP),
        clock=SystemClock(),
    )
    node.rpc("anvil_setBalance", account_text(made.wallet.default().account), hex(100 * COIN))
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def ask(handler, **body):
    """Return what a route of the API answers."""
    empty = Fields({})
    ctx = ApiContext("POST", "/", {}, empty, Fields(body), {}, None, "1", "http://127.0.0.1:7787")
    return (await handler(ctx)).data


def balance(node, account: Account) -> int:
    return int(node.rpc("eth_getBalance", account_text(account), "latest"), 16)


async def test_coins_go_to_the_address_that_was_shown_whoever_has_the_name_later(node, service):
    set_up(node, "alice.eth")
    routes = WalletRoutes(chain=service)
    said = await ask(routes.send, to="alice.eth", amount="1DEV")
    (row,) = said["transactions"]
    assert row["summary"] == f"Send 1 DEV to alice.eth ({account_text(ALICE)})"
    assert row["to"] == account_text(ALICE)
    set_up(node, "alice.eth", to=MALLORY)
    before = balance(node, ALICE)
    (sent,) = (await ask(routes.confirm, confirm=said["confirm"]))["items"]
    await service.money().sender.wait(bytes.fromhex(sent["id"]), timeout_s=20)
    assert (balance(node, ALICE) - before, balance(node, MALLORY)) == (COIN, 0)
    again = await ask(routes.send, to="alice.eth", amount="1DEV")
    assert account_text(MALLORY) in again["transactions"][0]["summary"]


async def test_splits_take_names_and_names_of_this_node_need_no_chain(node, service):
    set_up(node, "bob.eth", to=ALICE)
    owner, names = service.wallet.default().account, {}
    parts = await parse_splits(["bob.eth=12.5%"], owner, service, names)
    assert {each.account: each.bps for each in parts} == {ALICE: 1_250, owner: 8_750}
    assert names == {"bob.eth": ALICE}
    asked = await ask(WalletRoutes(chain=service).send, to="main", amount="1DEV")
    assert asked["transactions"][0]["summary"] == f"Send 1 DEV to {account_text(owner)}"


@pytest.mark.parametrize(
    ("code", "to", "words"),
    [
        ("", ALICE, "gives no address"),
        (TELLS, bytes(20), "stands for no account"),
        (TELLS, b"\xff" * 32, "gives no address"),
        ("601f6000f3", ALICE, "gives no address"),
        ("60406000f3", ALICE, "gives no address"),
        ("624000006000f3", ALICE, r"the resolver of evil\.eth fails"),  # 4 MiB
        ("5b600056", ALICE, r"the resolver of evil\.eth fails"),  # never ends
        ("fe", ALICE, r"the resolver of evil\.eth fails"),
        ("60006000fd", ALICE, r"the resolver of evil\.eth fails"),
        (OFF_CHAIN, ALICE, "kept off the chain"),
    ],
)
async def test_whatever_a_resolver_does_nothing_is_sent(node, service, code, to, words):
    set_up(node, "evil.eth", code, to)
    with trio.fail_after(5), pytest.raises(NotFoundError, match=words):
        await ask(WalletRoutes(chain=service).send, to="evil.eth", amount="1DEV")
    assert service.money().rpc.states()[0].is_well, "a contract cannot bring an endpoint into discredit"


async def test_a_name_that_nobody_has_and_one_that_is_written_wrong(node, service):
    routes = WalletRoutes(chain=service)
    with pytest.raises(NotFoundError, match=r"nobody has set up the name nobody\.eth"):
        await ask(routes.send, to="nobody.eth", amount="1DEV")
    with pytest.raises(UsageError, match=r"if you mean 'alice\.eth'"):
        await ask(routes.send, to="Alice.eth", amount="1DEV")


async def test_a_place_without_code_is_no_registry(service, monkeypatch):
    gateway = service.money().gateway
    monkeypatch.setattr(gateway, "profile", replace(gateway.profile, ens_registry=MALLORY))
    with pytest.raises(ChainUnavailableError, match="does not answer as the ENS registry of dev"):
        await resolve_name(gateway, "alice.eth")
