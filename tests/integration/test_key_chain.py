"""What guardians and listeners believe: a real chain on which endpoints agree, re-organised, lied about."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from random import Random

import pytest
import trio
from eth_abi import encode
from eth_hash.auto import keccak

from chain.errors import ChainUnavailableError, EndpointsDisagreeError
from chain.index.handlers import make_indexer, open_index
from chain.key_facts import FINALIZED, INCLUDED, SAFE, KeyChain
from chain.profiles import PROFILES
from chain.right import listening_rights
from chain.rpc import RpcConfig, RpcPool
from chain.tables import ChainTables
from marina.clock import ManualClock
from marina.errors import LicenceNeededError, NetworkError
from marina.ids import Account, TrackId
from node.guardian.former import former_keybox
from node.guardian.judge import Judge
from node.guardian.release_log import ReleaseLog
from node.guardian.watch import ReorgWatch
from node.keys.asking import Asker
from node.keys.cache import KeyCache
from node.keys.collector import Collector
from node.keys.evidence import Evidence
from node.keys.high_water import HighWater
from node.keys.keyring import Artist, Keyring
from p2p.wire.key import Code, Grant, KeyRequest, Refusal, decode_answer, encode_request
from storage.content.guarded import guarded_keybox
from storage.content.keys import KeyName, key_commitment
from storage.content.segments import CipherRun
from storage.kv import MemoryKv, Table
from storage.private import PrivateStore
from tests.support.anvil import RefusedError, anvil
from tests.support.guardians import KEY
from tests.support.key_rig import EPHEMERAL, Home, KeyRig, digest_of
from tests.support.listening import Sealed
from tests.support.vaults import OpenVault
from tests.support.wire import Refused, Wire

PRICE = 5
ONE, TWO = "http://127.0.0.1:1", "http://127.0.0.2:2"


@pytest.fixture(scope="module")
def node():
    with anvil() as running:
        yield running


@pytest.fixture(autouse=True)
def as_before(node):
    """Each test begins on the same chain."""
    name = node.rpc("evm_snapshot")
    yield
    node.rpc("evm_revert", name)


def wire_to(node):
    def answer(method, params):
        try:
            return node.rpc(method, *params)
        except RefusedError as err:
            found = err.args[0]
            raise Refused(found["code"], found["message"], found.get("data")) from err

    return Wire(answer)


class Sale:
    """A registered track with an anchored keybox, a buyer, and a guardian over two endpoints."""

    def __init__(self, node, *, finality=INCLUDED, quorum=2):
        self.node = node
        self.clock = ManualClock(int(node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16))
        artist = self.artist = node.accounts[1]
        salt = self.salt = os.urandom(32)
        (number,) = node.read("TrackRegistry", "idOf", bytes(artist), salt)
        self.track = TrackId(number)
        self.rig = KeyRig()  # its device and account
        self.home = Home("a guardian")
        self.finality = finality
        shares = [(bytes(artist), 10_000)]
        assert node.invoke(artist, "TrackRegistry", "register", (salt, salt, bytes(32), 0, shares))
        self.box = self.anchor(1)
        assert node.invoke(artist, "MusicLicensing", "addTerm", self.track, PRICE, 3600, 0, 1)
        self.wires = {ONE: wire_to(node), TWO: wire_to(node)}
        config = RpcConfig(tries_max=1, transport=lambda url: self.wires[url])
        self.pool = RpcPool(
            endpoints=list(self.wires)[:quorum], profile=replace(PROFILES["dev"], quorum=quorum),
            clock=self.clock, rng=Random(1), config=config,
        )  # fmt: skip
        store = open_index(MemoryKv(), chain_id=31337, contracts=node.contracts)
        self.indexer = make_indexer(self.pool, node.contracts, store, rng=Random(1))
        self.tables = ChainTables(store)
        self.chain = KeyChain(rpc=self.pool, contracts=node.contracts, clock=self.clock)
        self.log = ReleaseLog(MemoryKv())
        self.judge = Judge(
            holder=self.home, chain=lambda: self.chain, releases=self.log, clock=self.clock,
            former=self.former,
        )  # fmt: skip

        self.watch = ReorgWatch(releases=self.log, is_licence=self.is_licence, lost=self.count)
        self.leaks = 0

    async def former(self, track, tier, digest):
        return await former_keybox(self.tables, track, tier, digest)

    def anchor(self, epoch):
        """Give the shares anew and anchor them; return the keybox."""
        name = KeyName(self.track, 1, 0)
        box = guarded_keybox(
            name, KEY, key_commitment(KEY, name), chain_id=31337,
            registry=bytes(self.node.contracts.registry), epoch=epoch, k=1, guardians=[self.home.holder],
            random=os.urandom,
        )  # fmt: skip
        assert self.node.invoke(
            self.artist, "TrackRegistry", "anchorKeybox", self.track, 1, digest_of(box), epoch, self.finality
        )
        return box

    async def is_licence(self, licence):
        return self.node.read("MusicLicensing", "licence", licence)[0][2] != 0  # when it began

    def count(self):
        self.leaks += 1

    def buy(self):
        assert self.node.invoke(
            self.node.accounts[2], "MusicLicensing", "purchase", self.track, 0, 1, bytes(self.rig.owner),
            PRICE, value=PRICE,
        )  # fmt: skip

    def mine(self, count):
        self.node.rpc("anvil_mine", hex(count))
        self.later()

    def later(self):
        self.clock.advance(1.5)
        self.clock.set_wall(int(self.node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16))

    async def facts(self, finality=INCLUDED, account=None, tier=1):
        block = await self.chain.block(finality)
        return await self.chain.facts(self.track, account or self.rig.owner, tier, block)

    async def ask(self, box=None):
        box = box or self.box
        body = KeyRequest(
            chain_id=31337, registry=bytes(self.node.contracts.registry), track_id=self.track, tier=1,
            owner=self.rig.owner,
            binding=self.rig.bound(now_s=self.clock.now_s()), peer=self.rig.device.public_key,
            eph=EPHEMERAL.public_key().public_bytes_raw(), aud=self.home.signer.public_key,
            ts=self.clock.now_s(), nonce=os.urandom(16), keybox_digest=digest_of(box), lic_block=0,
        )  # fmt: skip
        message = encode_request(body, self.rig.device, box.to_bytes())
        return decode_answer(await self.judge.answer(message, self.rig.device.public_key, ""))

    async def end(self):
        await self.pool.aclose()


class Listener:
    """The buyer's keyring over the same chain, with the sale's guardian as the one it asks."""

    account: Account
    look_every_s = 1.0
    chain_id = 31337

    def __init__(self, sale, private):
        self.sale = sale
        self.account = sale.rig.owner
        self.registry = sale.node.contracts.registry
        name = KeyName(sale.track, 1, 0)
        sealed = Sealed(b"sound" * 1000).manifest()
        run = CipherRun(sale.track, 1, 0, 1, os.urandom(32))
        self.rendition = replace(sealed.renditions[0], run=run, kc=key_commitment(KEY, name))
        self.track = replace(sealed, account=sale.artist, salt=sale.salt, renditions=(self.rendition,))
        self.asked = 0
        evidence = Evidence(private=private, clock=sale.clock)
        asker = Asker(self.account, sale.rig.device, lambda: sale.rig.bound(now_s=sale.clock.now_s()))
        self.keyring = Keyring(
            artist=Artist(Account(b"n" * 20), lambda: KEY), rights=self, cache=KeyCache(private=private),
            releasing=Collector(line=self, asker=asker, evidence=evidence, clock=sale.clock, rng=Random(1)),
            block=self.block, high_water=HighWater(table=Table(MemoryKv(), "high"), clock=sale.clock),
            clock=sale.clock,
        )  # fmt: skip

    async def of(self, tiers):
        return await listening_rights(
            self.sale.pool, self.sale.node.contracts, account=self.account, tiers=tiers
        )

    async def price(self, _track):
        return None

    async def block(self, _root, _cid):
        return self.sale.box.to_bytes()

    def is_near(self, _peer_key):
        return True

    async def ask(self, _peer_key, message, *, timeout_s):
        self.asked += 1
        with trio.fail_after(timeout_s):
            return await self.sale.judge.answer(message, self.sale.rig.device.public_key, "")

    async def lease(self, **options):
        return await self.keyring.lease(self.track, self.rendition, **options)


@pytest.fixture
async def sale(node):
    made = Sale(node)
    yield made
    await made.end()


async def test_the_facts_are_those_of_the_contracts(node, sale):
    sale.mine(1)
    none = await sale.facts()
    assert (none.licence_id, none.is_licensed, none.keybox_epoch) == (None, False, 1)
    assert none.keybox_digest == digest_of(sale.box)
    sale.buy()
    sale.mine(1)
    found = await sale.facts()
    (known,) = node.read("MusicLicensing", "licenceIdOf", sale.track, 0, bytes(sale.rig.owner))
    assert (found.licence_id, found.to_s - found.from_s, found.is_licensed) == (known, 3600, True)
    assert found.block.number == node.head - 1, "the purchase's block and one more"
    assert (await sale.facts(tier=2)).licence_id is None
    assert (await sale.facts(account=node.accounts[5])).licence_id is None
    assert (found.binding_epoch, found.is_blocked) == (0, False)
    node.rpc("evm_increaseTime", 4000)
    sale.mine(2)
    assert not (await sale.facts()).is_licensed, "it has ended by block time"
    other = await sale.chain.facts(TrackId(b"\x05" * 32), sale.rig.owner, 1, await sale.chain.block())
    assert (other.is_registered, other.is_licensed) == (False, False)


async def test_facts_of_a_known_block_are_not_asked_for_again(sale):
    sale.buy()
    sale.mine(1)
    await sale.facts()
    before = [len(each.asked) for each in sale.wires.values()]
    for _ in range(100):
        assert (await sale.facts()).is_licensed
    assert [len(each.asked) for each in sale.wires.values()] == before


async def test_a_listener_who_saw_a_newer_block_makes_a_guardian_look_at_once_and_not_all_the_time(sale):
    before = await sale.chain.block()
    sale.node.rpc("anvil_mine", hex(2))
    asked = len(sale.wires[ONE].asked)
    assert await sale.chain.block(seen=before.number + 1) == before, "it has just looked"
    assert len(sale.wires[ONE].asked) == asked
    sale.clock.advance(0.1)
    assert (await sale.chain.block()) == before, "a second has not passed"
    assert (await sale.chain.block(seen=before.number + 1)).number > before.number


async def test_many_askers_at_once_make_a_guardian_look_once_and_read_a_few_at_a_time(sale):
    sale.buy()
    sale.mine(1)
    at_once = most = 0
    sale.wires[ONE].delay_s = 0.02
    handle = sale.wires[ONE].handle_async_request

    async def counted(request):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await handle(request)
        finally:
            at_once -= 1

    sale.wires[ONE].handle_async_request = counted
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(partial(sale.facts, account=Account(number.to_bytes(20))))
    looks = sum("eth_getBlockByNumber" in each and len(each) == 1 for each in sale.wires[ONE].requests)
    assert looks <= 4, "the newest block and the agreed one"
    assert most <= 8


async def test_a_bought_key_is_released_and_not_before_the_second_block(sale):
    sale.mine(1)
    assert (await sale.ask()).code is Code.NO_LICENCE
    sale.buy()
    sale.later()
    assert (await sale.ask()).code is Code.NO_LICENCE
    sale.mine(1)
    assert isinstance(await sale.ask(), Grant)


@pytest.mark.parametrize("depth", [1, 2, 7, 33, 64])
async def test_a_reorganisation_takes_the_licence_back_and_no_later_request_gets_a_share(node, sale, depth):
    sale.mine(1)
    before = node.rpc("evm_snapshot")
    sale.buy()
    sale.mine(max(1, depth - 1))
    assert isinstance(await sale.ask(), Grant)
    await sale.watch.look(lambda: sale.chain, sale.clock.now_s())
    assert sale.leaks == 0
    node.rpc("evm_revert", before)
    node.rpc("evm_increaseTime", 7)
    sale.mine(depth + 1)
    for _ in range(2):
        await sale.watch.look(lambda: sale.chain, sale.clock.now_s())
    assert sale.leaks == 1, "the key is out, and that is counted once"
    found = await sale.ask()
    assert isinstance(found, Refusal)
    assert found.code is Code.NO_LICENCE
    assert await sale.log.totals() == (1, 1)


@pytest.mark.parametrize(("finality", "depth"), [(SAFE, 32), (FINALIZED, 64)])
async def test_a_strict_artist_loses_nothing_to_a_reorganisation(node, finality, depth):
    sale = Sale(node, finality=finality)
    sale.mine(70)
    before = node.rpc("evm_snapshot")
    sale.buy()
    for _ in range(4):
        sale.mine(depth // 4 - 1)
        assert (await sale.ask()).code is Code.NOT_FINAL
    node.rpc("evm_revert", before)
    node.rpc("evm_increaseTime", 7)
    sale.mine(depth + 1)
    assert (await sale.ask()).code is Code.NO_LICENCE
    assert await sale.log.totals() == (0, 0)
    sale.buy()
    sale.mine(depth + 1)
    assert isinstance(await sale.ask(), Grant)
    await sale.end()


def lies(change):
    """Return an endpoint's answer that was changed on its way."""

    def made(wire):
        answer = wire.answer

        def lie(method, params):
            return change(method, params, answer(method, params))

        wire.answer = lie

    return made


def other_hash(method, params, found):
    if method == "eth_getBlockByNumber" and found:
        return {**found, "hash": "0x" + "ab" * 32}
    return found


def a_licence_for_ever(method, params, found):
    if method == "eth_call" and len(found) == 2 + 3 * 64 and int(found[2:66], 16) == 0:
        return "0x" + "11" * 32 + "00" * 32 + "ff" * 8 + "00" * 24
    return found


def nonsense(method, params, found):
    return {"never": "mind"} if method == "eth_call" else found


@pytest.mark.parametrize("change", [other_hash, nonsense], ids=["hash", "nonsense"])
async def test_one_endpoint_that_lies_stops_releases_and_no_lie_opens_anything(sale, change):
    sale.buy()
    sale.mine(2)
    honest = sale.wires[TWO].answer
    lies(change)(sale.wires[TWO])
    found = await sale.ask()
    assert isinstance(found, Refusal)
    assert found.code is Code.CHAIN_UNAVAILABLE
    sale.wires[TWO].answer = honest
    sale.clock.advance(31)
    sale.later()
    assert isinstance(await sale.ask(), Grant), "it goes on within half a minute"


async def test_one_endpoint_alone_cannot_invent_a_licence(sale):
    sale.mine(2)
    lies(a_licence_for_ever)(sale.wires[ONE])
    found = await sale.ask()
    assert isinstance(found, Refusal)
    assert found.code is Code.CHAIN_UNAVAILABLE
    with pytest.raises(EndpointsDisagreeError):
        await sale.facts()


async def test_with_one_endpoint_down_or_behind_nothing_is_released_where_two_must_agree(node, sale):
    sale.buy()
    sale.mine(2)
    sale.wires[TWO].is_down = True
    assert (await sale.ask()).code is Code.CHAIN_UNAVAILABLE
    with pytest.raises(ChainUnavailableError):
        await sale.facts()
    sale.wires[TWO].is_down = False
    sale.clock.advance(31)
    honest = sale.wires[TWO].answer
    stale = node.head - 2

    def behind(method, params):
        if method == "eth_getBlockByNumber":
            number = stale if params[0] == "latest" else int(params[0], 16)
            return honest(method, [hex(number), False]) if number <= stale else None
        return honest(method, params)

    sale.wires[TWO].answer = behind
    found = await sale.facts()
    assert found.block.number == stale - 1, "the block that both have"


async def test_every_keybox_that_was_replaced_is_served_for_a_day(node, sale):
    sale.buy()
    sale.mine(2)
    assert isinstance(await sale.ask(), Grant)
    first, second = sale.box, sale.anchor(2)
    await sale.indexer.catch_up()
    sale.mine(2)
    for box in (first, second):
        assert isinstance(await sale.ask(box), Grant)
    third = sale.anchor(3)
    await sale.indexer.catch_up()
    sale.mine(2)
    for box in (first, second, third):
        assert isinstance(await sale.ask(box), Grant)
    assert (await sale.ask(replace(third, epoch=2))).code is Code.KEYBOX_MISMATCH
    node.rpc("evm_increaseTime", 90_000)  # more than a day, whatever the blocks before took
    sale.mine(2)
    sale.buy()  # the licence of an hour has ended
    sale.mine(2)
    for box in (first, second):
        assert (await sale.ask(box)).code is Code.KEYBOX_MISMATCH, "a day has gone by"
    assert isinstance(await sale.ask(third), Grant)


WALLET = Account(b"\x77" * 20)
DIGEST, SIGNATURE = b"\x21" * 32, b"\x22" * 65
MAGIC = "631626ba7e"


def answering(word):
    """Return the code of a wallet that answers with what a piece of code leaves on the stack."""
    return word + "60005260206000f3"


def strict(digest, signature):
    """Return the code of a wallet that says yes to exactly this call, as the standard encodes it."""
    call = bytes.fromhex("1626ba7e") + encode(["bytes32", "bytes"], [digest, signature])
    return answering("366000600037" + "36600020" + "7f" + keccak(call).hex() + "14" + MAGIC + "02" + "60e01b")


@pytest.mark.parametrize(
    ("code", "is_taken"),
    [
        (strict(DIGEST, SIGNATURE), True),
        (strict(DIGEST, SIGNATURE[:-1]), False),
        (strict(bytes(32), SIGNATURE), False),
        (answering(MAGIC + "60e01b"), True),
        (answering(MAGIC), False),
        (answering("6001"), False),
        ("60006000fd", False),
        ("5b600056", False),
        (MAGIC + "60e01b60005260046000f3", False),
        ("620f4240600020" + answering(MAGIC + "60e01b"), False),
        ("", False),
    ],
    ids=[
        "right", "another signature", "another digest", "yes to all", "unaligned", "true", "reverts",
        "burns all gas", "four bytes", "costs too much", "no contract",
    ],
)  # fmt: skip
async def test_a_wallet_that_is_a_contract_is_asked_as_the_standard_says(node, sale, code, is_taken):
    node.rpc("anvil_setCode", "0x" + WALLET.hex(), "0x" + code)
    sale.mine(2)
    block = await sale.chain.block()
    assert await sale.chain.accepts(WALLET, DIGEST, SIGNATURE, block) is is_taken


async def test_endpoints_that_stand_still_together_keep_no_licence_alive(node, sale):
    """They agree, and all of it was true ten minutes ago."""
    sale.buy()
    sale.mine(2)
    ends_s = (await sale.facts()).to_s
    sale.clock.set_wall(ends_s + 60)
    sale.clock.advance(1.5)
    found = await sale.ask()
    assert isinstance(found, Refusal)
    assert found.code is Code.CHAIN_UNAVAILABLE
    node.rpc("evm_setNextBlockTimestamp", ends_s + 60)
    sale.mine(2)
    assert (await sale.ask()).code is Code.NO_LICENCE
    assert await sale.log.totals() == (0, 0)


async def test_an_endpoint_that_answers_something_else_is_no_chain(node):
    sale = Sale(node, quorum=1)
    lies(nonsense)(sale.wires[ONE])
    with pytest.raises(NetworkError):
        await sale.facts(account=Account(b"\x01" * 20))
    await sale.end()


@pytest.mark.parametrize("depth", [1, 7, 64])
async def test_a_listener_whose_purchase_is_re_organised_away_stops_and_goes_on_when_it_is_back(
    node, sale, tmp_path, depth
):
    private = PrivateStore(kv=MemoryKv(), deks_path=tmp_path / "deks.bin", masters=OpenVault())
    await private.unlock()
    listener = Listener(sale, private)
    sale.mine(1)
    before = node.rpc("evm_snapshot")
    with pytest.raises(LicenceNeededError):
        await listener.lease()
    sale.buy()
    sale.mine(depth)
    running = await listener.lease()
    assert (running.key, listener.asked) == (KEY, 1)
    assert (await listener.keyring.look_again([running]))[0].key == KEY
    node.rpc("evm_revert", before)
    node.rpc("evm_increaseTime", 7)
    sale.mine(depth + 2)
    assert await listener.keyring.look_again([running]) == [None], "what runs is ended"
    for options in ({}, {"is_offline": True}):
        with pytest.raises(LicenceNeededError):
            await listener.lease(**options)
    sale.buy()  # the same payment, in a block of the branch that stayed
    sale.mine(depth)
    again = await listener.lease()
    assert (again.key, listener.asked) == (KEY, 1), "no guardian is asked for what was released already"
    assert (await listener.lease(is_offline=True)).key == KEY
