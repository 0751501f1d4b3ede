"""Music for tokens on a real node: priced in one, bought with a permit, paid back, divided to the unit."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from eth_abi import encode
from eth_hash.auto import keccak

from chain.amount import Amount
from chain.artifacts import decode_call, encode_call
from chain.errors import InsufficientFundsError, RevertedError, SpendingLimitError
from chain.market.selling import NewTerm, SplitPart, Thing
from marina.clock import SystemClock
from marina.errors import NotFoundError, NotPermittedError, UsageError
from marina.ids import Account, account_text
from marina.secret import Secret
from node.chain.purchase import Order, purchase
from node.chain.service import ChainService
from node.chain.spending import quote, submit
from node.settings import ChainSettings, SpendSettings
from node.why import payment_facts
from storage.identity.owner import Owner
from storage.identity.vault_file import KdfCost
from storage.kv import MemoryKv
from tests.support.anvil import anvil

pytestmark = pytest.mark.filterwarnings(
    # httpx leaves the body of a request that is cancelled to the garbage collector.
    "ignore:Async generator 'httpx._content.ByteStream:ResourceWarning"
)
COIN = 10**18
UNIT = 10**6
COIN_ITSELF = Account(bytes(20))
TOKEN_FILE = Path(__file__).parents[2] / "contracts/artifacts/fixtures/TestToken.json"
CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
LIMITS = ("20DEV", "500MMT", "50TUSD")


def let_in(node) -> Account:
    """Deploy another token and let prices be in it, as a vote of the DAO would."""
    code = bytes.fromhex(json.loads(TOKEN_FILE.read_text())["bytecode"].removeprefix("0x"))
    made = node.send(node.accounts[1], None, code)
    token = Account(bytes.fromhex(made["contractAddress"][2:]))
    timelock = node.contracts.timelock
    node.rpc("anvil_setBalance", account_text(timelock), hex(COIN))
    node.rpc("anvil_impersonateAccount", account_text(timelock))
    assert node.invoke(timelock, "MusicLicensing", "setToken", bytes(token), True)
    node.rpc("anvil_stopImpersonatingAccount", account_text(timelock))
    return token


class Market:
    """One node's chain, with an artist, a mixer and a buyer among its accounts."""

    def __init__(self, service: ChainService, node, token: Account) -> None:
        self.service = service
        self.node = node
        self.token = token
        self.chain = service.get()
        self.artist, self.mixer, self.buyer = (
            service.wallet.find(name).account for name in ("main", "mixer", "buyer")
        )

    async def do(self, drafts, account: Account) -> list[dict[str, object]]:
        """Quote and confirm, and return the transactions once each is mined."""
        said = await quote(self.service, drafts, account, max_fee=None)
        done = []
        for each in await submit(self.service, said["confirm"], wait_s=20):
            row = await self.chain.sender.wait(bytes.fromhex(each["id"]), timeout_s=20)
            assert row.confirmations, row
            done.append(each)
        await self.chain.catch_up()
        return done

    async def sell(self, name: str, units: int, period_s: int = 0, token: Account | None = None) -> bytes:
        """Register something, shared nine to one, priced in the token or another; return its id."""
        salt = keccak(name.encode())
        thing = Thing(keccak(bytes(12) + self.artist + salt), salt, salt, None, name)
        parts = sorted([SplitPart(self.artist, 9_000), SplitPart(self.mixer, 1_000)], key=lambda p: p.account)
        await self.do(
            await self.chain.selling.register([thing], parts, royalty_bps=0, artist=self.artist), self.artist
        )
        currency = await self.chain.currencies.of(token or self.token)
        terms = [NewTerm(Amount(units, currency), period_s, 1)]
        await self.do(await self.chain.selling.price(thing.id, terms, title=name), self.artist)
        return thing.id

    async def buys(self, thing: bytes, **changes):
        """Return what buying something takes."""
        order = Order(thing, "a song", None, None, self.buyer, self.buyer, 1, False, False)
        return await purchase(self.chain, replace(order, **changes))

    def units(self, account: Account, token: Account | None = None) -> int:
        """Return what an account holds of the token."""
        data = encode_call("MarinaToken", "balanceOf", bytes(account))
        to = account_text(token or self.token)
        return int(self.node.rpc("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest"), 16)

    def allowance(self, spender: Account) -> int:
        """Return how much of the buyer's tokens a contract may take."""
        data = encode_call("MarinaToken", "allowance", bytes(self.buyer), bytes(spender))
        to = account_text(self.token)
        return int(self.node.rpc("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest"), 16)

    def mint(self, account: Account, units: int, token: Account | None = None) -> None:
        """Give somebody tokens."""
        data = keccak(b"mint(address,uint256)")[:4] + encode(["address", "uint256"], [bytes(account), units])
        assert self.node.send(self.node.accounts[1], token or self.token, data)["status"] == "0x1"


@pytest.fixture(scope="module")
def node():
    with anvil() as running:
        running.first_token = let_in(running)
        yield running


@asynccontextmanager
async def market_on(node, tmp_path, limits=LIMITS):
    home = tmp_path / "home"
    home.mkdir()
    file = tmp_path / "contracts.json"
    file.write_text(node.contracts.to_json(31337, first_block=1))
    owner = Owner.create(home, Secret("correct horse battery"), clock=SystemClock(), cost=CHEAP)
    service = ChainService(
        settings=ChainSettings("dev", (node.url,), str(file)),
        spend=SpendSettings(limits, limits),
        home=home,
        store=MemoryKv(),
        owner=owner,
        clock=SystemClock(),
    )
    for name in ("mixer", "buyer"):
        await service.wallet.create(name)
    for each in service.wallet.accounts():
        node.rpc("anvil_setBalance", account_text(each.account), hex(100 * COIN))
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        yield Market(service, node, node.first_token)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def market(node, tmp_path):
    async with market_on(node, tmp_path) as made:
        made.mint(made.buyer, 1000 * UNIT)
        yield made


async def test_a_permit_pays_in_one_transaction_and_is_signed_with_the_yes_alone(market):
    thing = await market.sell("one", 5 * UNIT)
    bought = await market.buys(thing)
    assert (str(bought.offer.price), bought.is_offline) == ("5 TUSD", False)
    said = await quote(market.service, bought.drafts, market.buyer, max_fee=None)
    assert said["spend"] == ["5 TUSD"]
    (row,) = said["transactions"]
    _order, _deadline, v, r, s = decode_call("MusicLicensing", bytes.fromhex(row["data"][2:]))[1]
    assert (v, r, s) == (0, bytes(32), bytes(32)), "whoever may only look gets no signature"
    (sent,) = await submit(market.service, said["confirm"], wait_s=20)
    row = await market.chain.sender.wait(bytes.fromhex(sent["id"]), timeout_s=20)
    assert row.confirmations == 1
    assert market.units(market.buyer) == 995 * UNIT
    assert market.allowance(market.node.contracts.licensing) == 0
    assert (await market.chain.offers.licence_for(thing, market.buyer, 1)) is not None
    assert await market.chain.guard.left(bought.offer.price.currency) == 45 * UNIT
    with pytest.raises(NotPermittedError, match="no end already"):
        await market.buys(thing)


async def test_collaborators_get_their_part_of_a_token_to_the_unit(market):
    thing = await market.sell("two", 7 * UNIT + 1)
    await market.do((await market.buys(thing)).drafts, market.buyer)
    (row,) = await market.chain.tables.accruals(thing)
    shares = await market.chain.tables.splits(thing, row.splits_hash)
    parts = [SplitPart(Account(each.account), each.bps) for each in shares.parts]
    settle = market.chain.selling.settle(thing, parts, market.token, title="two")
    net = 7 * UNIT + 1 - (7 * UNIT + 1) * 250 // 10_000
    pay = await market.chain.selling.withdraw(market.artist, market.token, net * 9 // 10)
    before = market.units(market.artist)
    await market.do([settle, pay], market.artist)
    assert market.units(market.artist) - before == net * 9 // 10
    pay = await market.chain.selling.withdraw(market.mixer, market.token, net // 10)
    before = market.units(market.mixer)
    await market.do([pay], market.mixer)
    assert market.units(market.mixer) - before == net // 10


async def test_a_token_licence_is_extended_and_paid_back_in_the_token(market):
    thing = await market.sell("three", 3 * UNIT, 30 * 86_400)
    await market.do((await market.buys(thing)).drafts, market.buyer)
    with pytest.raises(UsageError, match="marina renew"):
        await market.buys(thing)
    await market.do((await market.buys(thing, is_renewal=True, periods=2)).drafts, market.buyer)
    assert market.units(market.buyer) == 991 * UNIT
    (licence,) = (await market.chain.tables.licences_for(thing)).rows
    market.mint(market.artist, 9 * UNIT)
    drafts = await market.chain.buying.refund(licence.licence_id, title="three", payer=market.artist)
    assert [each.what for each in drafts] == ["token.approve", "licence.refund"]
    await market.do(drafts, market.artist)
    owed = await market.chain.selling.owed(market.buyer, market.token)
    assert 8.99 * UNIT < owed <= 9 * UNIT
    with pytest.raises(NotFoundError, match="nothing is owed"):
        await market.chain.selling.withdraw(market.buyer, Account(bytes(20)), 0)


async def test_a_refund_in_coin_is_paid_although_its_block_comes_later_than_it_was_tried(market, node):
    thing = await market.sell("five", COIN, 30 * 86_400, COIN_ITSELF)
    await market.do((await market.buys(thing)).drafts, market.buyer)
    (licence,) = (await market.chain.tables.licences_for(thing)).rows
    drafts = await market.chain.buying.refund(licence.licence_id, title="five", payer=market.artist)
    said = await quote(market.service, drafts, market.artist, max_fee=None)
    node.rpc("evm_increaseTime", hex(86_400))
    (sent,) = await submit(market.service, said["confirm"], wait_s=20)
    row = await market.chain.sender.wait(bytes.fromhex(sent["id"]), timeout_s=20)
    assert row.confirmations, row
    assert 0.96 * COIN < await market.chain.selling.owed(market.buyer, COIN_ITSELF) < 0.97 * COIN


async def test_an_edition_in_a_token_is_allowed_then_bought(market):
    thing = await market.sell("four", 1 * UNIT)
    currency = await market.chain.currencies.of(market.token)
    draft = await market.chain.editions.create(thing, cap=3, price=Amount(4 * UNIT, currency), title="four")
    await market.do([draft], market.artist)
    number = await market.chain.editions.count()
    drafts = await market.chain.editions.buy(
        number, count=2, to=market.buyer, payer=market.buyer, title="four"
    )
    assert [each.what for each in drafts] == ["token.approve", "edition.buy"]
    done = await market.do(drafts, market.buyer)
    assert [each["nonce"] for each in done] == [done[0]["nonce"], done[0]["nonce"] + 1]
    assert market.units(market.buyer) == 992 * UNIT
    assert await market.chain.editions.held(number, market.buyer) == 2
    tip = await market.chain.buying.tip(thing, Amount(UNIT, currency), title="four", payer=market.buyer)
    await market.do(tip, market.buyer)
    assert market.units(market.buyer) == 991 * UNIT


async def test_who_holds_too_little_of_a_token_is_told_before_anything_is_sent(market):
    thing = await market.sell("five", 40 * UNIT)
    with pytest.raises(InsufficientFundsError, match="holds 0 TUSD and needs 40 TUSD"):
        await market.buys(thing, payer=market.mixer, licensee=market.mixer)


async def test_limits_hold_in_tokens_and_one_without_a_limit_cannot_be_spent(market, node, tmp_path):
    thing = await market.sell("six", 51 * UNIT)
    drafts = (await market.buys(thing)).drafts
    with pytest.raises(SpendingLimitError, match=r"51 TUSD is above the limit of 50 TUSD"):
        await quote(market.service, drafts, market.buyer, max_fee=None)
    cheap = await market.sell("six again", 1)
    (tmp_path / "b").mkdir()
    async with market_on(node, tmp_path / "b", ("20DEV",)) as strict:
        strict.mint(strict.buyer, UNIT)
        with pytest.raises(SpendingLimitError, match=r"limit of 0 TUSD"):
            await quote(strict.service, (await strict.buys(cheap)).drafts, strict.buyer, max_fee=None)


async def test_a_price_in_a_token_cannot_wait_for_the_chain(market):
    thing = await market.sell("seven", UNIT)
    with pytest.raises(UsageError, match="own coin can wait"):
        await market.buys(thing, is_queued=True)


async def test_a_token_that_calls_itself_like_another_is_shown_by_its_address(market, node):
    twin = let_in(node)
    listed = {each.currency.token: each.currency.symbol for each in await market.chain.currencies.listed()}
    assert listed[market.token] == "TUSD"
    assert listed[twin] == f"T{twin.hex()[:8]}"
    with pytest.raises(NotFoundError, match="no ERC-20 token"):
        await market.chain.currencies.of(node.contracts.registry)
    with pytest.raises(NotFoundError, match="no ERC-20 token"):
        await market.chain.currencies.of(Account(b"\x99" * 20))
    with pytest.raises(NotFoundError, match="no token has the number 200"):
        await market.chain.currencies.at(200)


async def test_a_term_that_was_switched_off_after_the_quote_is_refused_and_costs_nothing(market):
    thing = await market.sell("eight", UNIT)
    said = await quote(market.service, (await market.buys(thing)).drafts, market.buyer, max_fee=None)
    await market.do([market.chain.selling.enable(thing, 0, False, title="eight")], market.artist)
    nonce = await market.chain.gateway.nonce(market.buyer)
    with pytest.raises(RevertedError):
        await submit(market.service, said["confirm"], wait_s=5)
    assert await market.chain.gateway.nonce(market.buyer) == nonce
    assert market.units(market.buyer) == 1000 * UNIT


async def test_two_windows_that_asked_for_one_licence_pay_once_and_a_renewal_asked_again_is_made(market):
    thing = await market.sell("six", 2 * UNIT, 30 * 86_400)
    first, second = [
        (await quote(market.service, (await market.buys(thing)).drafts, market.buyer, max_fee=None))[
            "confirm"
        ]
        for _ in range(2)
    ]
    before = market.units(market.buyer)
    (sent,) = await submit(market.service, first, wait_s=20)
    await market.chain.sender.wait(bytes.fromhex(sent["id"]), timeout_s=20)
    with pytest.raises(NotFoundError, match="confirmed under another code"):
        await submit(market.service, second, wait_s=20)
    assert market.units(market.buyer) == before - 2 * UNIT
    for _ in range(2):
        await market.do((await market.buys(thing, is_renewal=True)).drafts, market.buyer)
    assert market.units(market.buyer) == before - 6 * UNIT


async def test_an_earlier_payment_is_divided_as_it_was_when_it_came_whatever_the_splits_are_now(market):
    thing = await market.sell("seven", 10 * UNIT, 30 * 86_400)
    await market.do((await market.buys(thing)).drafts, market.buyer)
    half = sorted([SplitPart(market.artist, 5_000), SplitPart(market.mixer, 5_000)], key=lambda p: p.account)
    await market.do([market.chain.selling.share(thing, half, title="seven")], market.artist)
    await market.do((await market.buys(thing, is_renewal=True)).drafts, market.buyer)
    sales = (await market.chain.tables.sales(thing)).rows
    currency, totals = await market.chain.currencies.of(market.token), {}
    shown = [await payment_facts(market.chain, thing, each, currency, totals) for each in sales]
    net = 10 * UNIT - 10 * UNIT * 250 // 10_000
    mixer = account_text(market.mixer)
    parts = {share["units"] for each in shown for share in each["shares"] if share["to"] == mixer}
    assert parts == {str(net // 10), str(net // 2)}
    assert totals[currency.symbol, mixer] == net // 10 + net // 2
    assert sum(totals.values()) == 20 * UNIT
    for row in await market.chain.tables.accruals(thing):
        shares = (await market.chain.tables.splits(thing, row.splits_hash)).parts
        parts = [SplitPart(Account(each.account), each.bps) for each in shares]
        await market.do([market.chain.selling.settle(thing, parts, market.token, title="7")], market.artist)
    before = market.units(market.mixer)
    owed = await market.chain.selling.owed(market.mixer, market.token)
    await market.do([await market.chain.selling.withdraw(market.mixer, market.token, owed)], market.mixer)
    assert market.units(market.mixer) - before >= net // 10 + net // 2
