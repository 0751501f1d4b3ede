"""Leases of paid music: licences, offline play, clocks that were set back, expiry, full disks."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import trio

from chain.right import ListeningRight
from marina.cid import cid_of
from marina.clock import ManualClock
from marina.errors import LicenceNeededError, NetworkError, NotPermittedError
from marina.ids import Account
from marina.secret import Secret
from node.keys.cache import LEASE_S_MAX, KeyCache
from node.keys.collector import Collector, TooFewAnswersError
from node.keys.evidence import Evidence
from node.keys.high_water import HighWater
from node.keys.keyring import Artist, Keyring
from storage.content.keys import KeyName, derive_track_key, key_commitment
from storage.content.segments import CipherRun
from storage.errors import DiskFullError, VaultLockedError
from storage.kv import MemoryKv, Table
from tests.support.guardians import CHAIN_ID, KC, KEY, NAME, REGISTRY, TRACK, Guardian, Party, asker
from tests.support.listening import Sealed

DAY_S = 86_400
FOR_EVER = 2**64 - 1
LISTENER = Account(b"m" * 20)


class Chain:
    """One account's rights as the test says; ``None`` for a chain that does not answer."""

    account = Account(b"l" * 20)
    chain_id = CHAIN_ID
    registry = REGISTRY
    look_every_s = 1.0

    def __init__(self, right):
        self.right = right
        self.asked = 0

    async def of(self, tiers):
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.right is None:
            raise NetworkError("the chain does not answer")
        return [self.right for _ in tiers]

    async def price(self, track_id):
        await trio.lowlevel.checkpoint()
        return "0.5 DEV (for ever)"


class Stage:
    """A track that costs money, seven guardians, and a listener with a licence for ten days."""

    def __init__(self, private, clock, *, kinds=("honest",) * 7, account=LISTENER):
        self.clock = clock
        self.line = Party([Guardian(f"g{i}", clock, kind) for i, kind in enumerate(kinds)])
        self.box = self.line.box()
        self.kv = MemoryKv()
        self.blocks = {self.box.cid: self.box.to_bytes()}
        now_s = clock.now_s()
        self.chain = Chain(ListeningRight(b"L" * 32, now_s + 10 * DAY_S, self.box.cid[-32:], 1, 0, 50, now_s))
        self.high_water = HighWater(table=Table(self.kv, "high-water"), clock=clock)
        self.cache = KeyCache(private=private)
        self.evidence = Evidence(private=private, clock=clock)
        self.content_root = Secret(b"r" * 32)
        self.keyring = Keyring(
            artist=Artist(account, lambda: self.content_root),
            rights=self.chain,
            cache=self.cache,
            releasing=Collector(
                line=self.line, asker=asker(), evidence=self.evidence, clock=clock, rng=Random(1)
            ),
            block=self.block,
            high_water=self.high_water,
            clock=clock,
        )
        manifest = Sealed(b"sound" * 1000).manifest()
        run = CipherRun(TRACK, NAME.tier, NAME.key_version, 1, b"f" * 32)
        self.rendition = replace(manifest.renditions[0], run=run, kc=KC)
        self.track = replace(manifest, renditions=(self.rendition,))

    async def block(self, root, cid):
        await trio.lowlevel.checkpoint()
        return self.blocks[cid]

    async def lease(self, **options):
        return await self.keyring.lease(self.track, self.rendition, **options)

    @property
    def asked(self):
        return sum(each.asked for each in self.line.guardians)

    def set_right(self, **changes):
        self.chain.right = replace(self.chain.right, **changes)


@pytest.fixture
async def stage(private, clock):
    return Stage(private, clock)


async def test_a_key_is_asked_for_once_and_then_is_here(stage, autojump_clock):
    lease = await stage.lease()
    assert lease.key == KEY
    assert lease.ends_s == pytest.approx(trio.current_time() + 10 * DAY_S, abs=1)
    asked = stage.asked
    again = await stage.lease()
    assert (again.key, stage.asked) == (KEY, asked)
    kept = await stage.keyring.released(stage.rendition)
    assert (kept.licence, kept.epoch, kept.block, len(kept.holders)) == (b"L" * 32, 1, 7, 3)


async def test_a_licence_that_was_paid_back_opens_nothing_offline_either(stage, autojump_clock):
    lease = await stage.lease()
    assert (await stage.lease(is_offline=True)).key == KEY
    was = stage.chain.right
    stage.set_right(licence=None, expires_s=0)
    assert await stage.keyring.look_again([lease]) == [None]
    with pytest.raises(LicenceNeededError):
        await stage.lease(is_offline=True)
    stage.chain.right = was  # an endpoint that lagged behind
    asked = stage.asked
    assert (await stage.lease()).key == KEY
    assert (await stage.lease(is_offline=True)).key == KEY
    assert stage.asked == asked, "no guardian was asked again"
    stage.set_right(licence=None, expires_s=0)
    with pytest.raises(LicenceNeededError):
        await stage.lease()
    with pytest.raises(LicenceNeededError):
        await stage.lease(is_offline=True)


async def test_a_day_that_no_calendar_has_is_told_like_any_other(stage, autojump_clock):
    box = replace(stage.box, not_before=2**64 - 1)
    stage.blocks[box.cid] = box.to_bytes()
    stage.set_right(digest=box.cid[-32:])
    with pytest.raises(NotPermittedError, match="9999"):
        await stage.lease()


async def test_a_time_that_cannot_be_does_not_move_the_mark(stage, autojump_clock):
    await stage.high_water.note(2**63)
    await stage.high_water.note(2**70)
    assert not stage.high_water.is_clock_behind


async def test_two_players_at_once_ask_guardians_once(stage, autojump_clock):
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(stage.lease)
    assert stage.asked == 4


async def test_without_a_licence_the_price_and_the_preview_are_named_and_nobody_is_asked(
    stage, autojump_clock
):
    stage.set_right(licence=None, expires_s=0)
    with pytest.raises(LicenceNeededError) as err:
        await stage.lease()
    assert err.value.exit_code == 6
    for words in ("0.5 DEV", "marina buy tr_", "--preview"):
        assert words in str(err.value)
    assert stage.asked == 0


async def test_an_ended_licence_opens_nothing_though_the_key_is_here_and_renewal_asks_no_guardian(
    stage, autojump_clock
):
    await stage.lease()
    asked = stage.asked
    stage.set_right(time_s=stage.clock.now_s() + 10 * DAY_S)
    with pytest.raises(LicenceNeededError, match="ended"):
        await stage.lease()
    with pytest.raises(NotPermittedError, match="clock"):
        await stage.lease(is_offline=True)  # this clock has not seen the ten days that the chain tells of
    stage.set_right(expires_s=stage.clock.now_s() + 20 * DAY_S)
    assert (await stage.lease()).key == KEY
    assert stage.asked == asked


async def test_a_licence_that_is_paid_back_ends_running_leases_at_the_next_look(stage, autojump_clock):
    lease = await stage.lease()
    (still,) = await stage.keyring.look_again([lease])
    assert still.key == KEY
    stage.set_right(licence=None, expires_s=0)
    assert await stage.keyring.look_again([lease]) == [None]


async def test_without_the_chain_the_key_plays_until_its_lease_ends(stage, autojump_clock):
    await stage.lease()
    stage.chain.right = None
    assert (await stage.lease()).key == KEY
    await trio.sleep(9 * DAY_S)
    lease = await stage.lease()
    assert lease.ends_s == pytest.approx(trio.current_time() + DAY_S, abs=5)
    await trio.sleep(DAY_S + 5)
    with pytest.raises(LicenceNeededError, match="ended"):
        await stage.lease()


async def test_a_licence_without_end_is_looked_up_at_least_every_thirty_days(stage, autojump_clock):
    stage.set_right(expires_s=FOR_EVER)
    await stage.lease()
    stage.chain.right, right = None, stage.chain.right
    await trio.sleep(LEASE_S_MAX - 60)
    assert (await stage.lease()).key == KEY
    await trio.sleep(120)
    with pytest.raises(LicenceNeededError):
        await stage.lease()
    stage.chain.right = replace(right, time_s=stage.clock.now_s())
    assert (await stage.lease()).key == KEY


async def test_a_track_that_was_never_heard_needs_the_chain(stage, autojump_clock):
    stage.chain.right = None
    with pytest.raises(NetworkError, match="does not answer"):
        await stage.lease()
    with pytest.raises(LicenceNeededError, match="while connected"):
        await stage.lease(is_offline=True)


@pytest.mark.parametrize(("back_s", "is_played"), [(300, True), (700, False), (9 * DAY_S, False)])
async def test_setting_the_clock_back_prolongs_nothing(back_s, is_played, stage, autojump_clock):
    await stage.lease()
    stage.chain.right, right = None, stage.chain.right
    await trio.sleep(DAY_S)
    before = (await stage.lease()).ends_s
    await stage.high_water.note(stage.clock.now_s())
    stage.clock.set_wall(1_700_000_000 - back_s)
    if is_played:
        assert (await stage.lease()).ends_s <= before + 1
        return
    with pytest.raises(NotPermittedError, match="clock"):
        await stage.lease()
    stage.chain.right = right
    assert (await stage.lease()).key == KEY, "the chain knows the time"


async def test_the_latest_time_survives_a_restart(autojump_clock):
    clock, table = ManualClock(), Table(MemoryKv(), "high-water")
    first = HighWater(table=table, clock=clock)
    await first.note(clock.now_s() + 5000)
    second = HighWater(table=table, clock=clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(second.run)
        nursery.cancel_scope.cancel()
    assert second.is_clock_behind
    assert second.time_s() == clock.now_s() + 5000


async def test_on_a_full_disk_the_music_plays_and_the_key_is_asked_for_again(
    stage, autojump_clock, monkeypatch
):
    async def refuse(found):
        raise DiskFullError("no room")

    monkeypatch.setattr(stage.cache, "put", refuse)
    assert (await stage.lease()).key == KEY
    asked = stage.asked
    monkeypatch.undo()
    assert (await stage.lease()).key == KEY
    assert stage.asked > asked
    assert await stage.keyring.released(stage.rendition) is not None


@pytest.mark.parametrize("change", ["chain_id", "registry", "track_id", "tier", "kc"])
async def test_a_keybox_of_something_else_is_never_taken_to_a_guardian(change, stage, autojump_clock):
    other = {"chain_id": 1, "registry": b"\x01" * 20, "track_id": bytes(32), "tier": 2, "kc": bytes(32)}
    box = replace(stage.box, **{change: other[change]})
    stage.blocks[box.cid] = box.to_bytes()
    stage.set_right(digest=box.cid[-32:])
    with pytest.raises(NotPermittedError, match="something else"):
        await stage.lease()
    assert stage.asked == 0


async def test_what_the_artist_anchored_counts_and_nothing_anchored_opens_nothing(stage, autojump_clock):
    stage.set_right(digest=None, epoch=0)
    with pytest.raises(NotPermittedError, match="anchored"):
        await stage.lease()
    junk = b"no keybox at all"
    stage.blocks[cid_of(junk)] = junk
    stage.set_right(digest=cid_of(junk)[-32:])
    with pytest.raises(NotPermittedError, match="no keybox"):
        await stage.lease()


async def test_a_track_is_not_released_before_its_day(stage, autojump_clock):
    box = replace(stage.box, not_before=stage.clock.now_s() + DAY_S)
    stage.blocks[box.cid] = box.to_bytes()
    stage.set_right(digest=box.cid[-32:])
    with pytest.raises(NotPermittedError, match=r"from .* on"):
        await stage.lease()
    assert stage.asked == 0


async def test_too_few_guardians_leave_the_licence_and_name_how_many(private, clock, autojump_clock):
    stage = Stage(private, clock, kinds=("honest", "honest", *("gone",) * 5))
    with pytest.raises(TooFewAnswersError, match="2 of 7"):
        await stage.lease()
    for each in stage.line.guardians:
        each.kind = "honest"
    assert (await stage.lease()).key == KEY


async def test_ones_own_music_needs_no_licence_and_no_guardian(private, clock, autojump_clock):
    stage = Stage(private, clock, account=Sealed(b"x" * 100).manifest().account)
    name = KeyName(stage.track.track_id, 1, 0)
    key = derive_track_key(stage.content_root, stage.track.salt, name)
    rendition = replace(
        stage.rendition,
        run=replace(stage.rendition.run, track_id=name.track_id),
        kc=key_commitment(key, name),
    )
    stage.chain.right = None
    lease = await stage.keyring.lease(stage.track, rendition)
    assert (lease.key, lease.ends_s, stage.asked) == (key, None, 0)


async def test_keys_lie_sealed_and_a_locked_vault_gives_none(stage, private, autojump_clock):
    await stage.lease()
    private.lock()
    with pytest.raises(VaultLockedError):
        await stage.lease()


async def test_keys_of_licences_that_ended_long_ago_are_forgotten(stage, autojump_clock):
    await stage.lease()
    kept = await stage.keyring.released(stage.rendition)
    assert await stage.cache.prune(kept.expires_s + LEASE_S_MAX) == 0
    assert await stage.cache.prune(kept.expires_s + LEASE_S_MAX + 1) == 1
    assert await stage.keyring.released(stage.rendition) is None
