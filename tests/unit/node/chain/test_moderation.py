"""The DAO's list is followed only if the operator says so, and only whole; an attack never opens anything."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio

from governance.errors import WrongListError
from governance.moderation import encode_list, list_cid, make_entry, make_list
from marina.cid import Cid, cid_of
from marina.clock import ManualClock
from marina.errors import MalformedError, NetworkError, NotFoundError, UsageError
from marina.ids import ReleaseId, TrackId, release_text, track_text
from node.chain.adopted import NO_LIST
from node.chain.moderation import LOOK_EVERY_S, Moderation
from node.chain.shared_blocks import SharedBlocks
from node.health import Health
from p2p.denylist import DeniedError, Denylist, DenySet
from storage.blocks.index import StoreIndex
from storage.blocks.memory import MemoryBlockStore
from storage.kv import MemoryKv, Table
from storage.pins import Pins
from storage.quota import Quota
from storage.retention import Retention

RELEASE, TRACK = ReleaseId(b"\x11" * 32), TrackId(b"\x22" * 32)
OWN = cid_of(b"the operator's own")
FIRST = encode_list(make_list([make_entry(release_text(RELEASE), "a court order")]))
SECOND = encode_list(make_list([make_entry(track_text(TRACK), "another")], previous=FIRST[0]))


class DaoOnTheChain:
    """What the chain says: the index first, then what endpoints agree on."""

    def __init__(self, digest: bytes = NO_LIST) -> None:
        self.chain_id: int | None = 31337
        self.index, self.agreed = digest, digest
        self.failure: Exception | None = None

    def adopt(self, digest: bytes) -> None:
        self.index = self.agreed = digest

    async def indexed(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.index

    async def digest(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        return self.agreed


class World:
    """One home, in which nodes are started one after another; ``peers`` hold blocks of others."""

    def __init__(self) -> None:
        self.dao = DaoOnTheChain()
        self.peers: dict[Cid, bytes] = {}
        self.announced: list[Cid] = []
        self.kv = MemoryKv()
        self.blocks = MemoryBlockStore(quota_bytes=1 << 24)
        self.pins = Pins(StoreIndex(self.kv, Quota(1 << 24)), ManualClock())

    def node(self, *, is_followed: bool = True) -> tuple[Moderation, Denylist]:
        denylist = Denylist(entries=DenySet(cids=frozenset([OWN])))

        async def fetch(_: Cid, cid: Cid) -> bytes:
            try:
                return await self.blocks.get(cid)
            except NotFoundError:
                if cid not in self.peers:
                    raise
            await self.blocks.put(cid, self.peers[cid])
            return self.peers[cid]

        async def announce(cids) -> None:
            await trio.lowlevel.checkpoint()
            self.announced += cids

        shared = SharedBlocks(
            blocks=self.blocks, pins=self.pins, fetch=fetch, announce=announce, clock=ManualClock()
        )
        moderation = Moderation(
            source=self.dao,
            denylist=denylist,
            shared=shared,
            table=Table(self.kv, "moderation"),
            is_followed=is_followed,
            clock=ManualClock(),
            rng=Random(1),
        )
        return moderation, denylist

    def offer(self, made: tuple[bytes, bytes]) -> None:
        self.peers[list_cid(made[0])] = made[1]


async def test_a_new_list_replaces_the_old_one_and_the_operators_own_stays(autojump_clock, nursery):
    world = World()
    moderation, denylist = world.node()
    await nursery.start(moderation.run)
    world.offer(FIRST)
    world.offer(SECOND)
    world.dao.adopt(FIRST[0])
    await trio.sleep(2 * LOOK_EVERY_S)
    assert (moderation.in_force, moderation.problem) == (FIRST[0], "")
    with pytest.raises(
        DeniedError, match="the DAO's moderation list, which this operator follows, names rl_"
    ):
        denylist.check(release=RELEASE)

    world.dao.adopt(SECOND[0])
    await trio.sleep(2 * LOOK_EVERY_S)
    assert denylist.reason(release=RELEASE) is None
    assert denylist.reason(tracks=[TRACK]) == track_text(TRACK)
    with pytest.raises(DeniedError, match="this operator's denylist names"):
        denylist.check(cids=[OWN])
    assert await world.pins.retention(list_cid(SECOND[0])) is Retention.PINNED
    assert await world.pins.reasons(list_cid(FIRST[0])) == [], "the old one may go"

    world.dao.adopt(NO_LIST)
    await trio.sleep(2 * LOOK_EVERY_S)
    assert denylist.reason(tracks=[TRACK]) is None
    assert len(denylist) == 1
    nursery.cancel_scope.cancel()


async def test_who_did_not_turn_it_on_follows_nothing(autojump_clock, nursery):
    world = World()
    world.offer(FIRST)
    world.dao.adopt(FIRST[0])
    moderation, denylist = world.node(is_followed=False)
    await moderation.load()
    await nursery.start(moderation.run)
    await trio.sleep(10 * LOOK_EVERY_S)
    assert (moderation.in_force, len(denylist)) == (NO_LIST, 1)
    assert (await moderation.check()).state is Health.HEALTHY
    nursery.cancel_scope.cancel()


async def test_the_last_good_list_stays_while_the_new_block_is_not_to_be_had(autojump_clock, nursery):
    world = World()
    world.offer(FIRST)
    world.dao.adopt(FIRST[0])
    moderation, denylist = world.node()
    await nursery.start(moderation.run)
    await trio.sleep(2 * LOOK_EVERY_S)
    world.dao.adopt(SECOND[0])
    await trio.sleep(10 * LOOK_EVERY_S)
    assert denylist.reason(release=RELEASE) == release_text(RELEASE)
    found = await moderation.check()
    assert (found.state, "is not here and nobody who is reachable has it" in found.sentence) == (
        Health.DEGRADED,
        True,
    )
    world.offer(SECOND)
    await trio.sleep(700)
    assert (moderation.in_force, moderation.problem) == (SECOND[0], "")
    assert (await moderation.check()).state is Health.HEALTHY
    nursery.cancel_scope.cancel()


async def test_a_restart_brings_the_last_list_back_before_the_chain_answers(autojump_clock, nursery):
    world = World()
    world.offer(FIRST)
    world.dao.adopt(FIRST[0])
    moderation, _ = world.node()
    await nursery.start(moderation.run)
    await trio.sleep(2 * LOOK_EVERY_S)
    world.peers.clear()
    world.dao.failure = NetworkError("nobody answers")

    again, denylist = world.node()
    await again.load()
    assert denylist.reason(release=RELEASE) == release_text(RELEASE)
    assert again.in_force == FIRST[0]
    world.dao.index = NO_LIST  # an index that starts over knows nothing yet
    await nursery.start(again.run)
    await trio.sleep(10 * LOOK_EVERY_S)
    assert denylist.reason(release=RELEASE) == release_text(RELEASE)
    assert again.problem == "nobody answers"

    world.dao.chain_id = 1
    other, denylist = world.node()
    await other.load()
    assert (other.in_force, len(denylist)) == (NO_LIST, 1), "a list of another chain is another DAO's"
    nursery.cancel_scope.cancel()


async def test_what_the_index_alone_says_changes_nothing(autojump_clock, nursery):
    world = World()
    world.offer(FIRST)
    world.offer(SECOND)
    world.dao.adopt(FIRST[0])
    moderation, denylist = world.node()
    await nursery.start(moderation.run)
    await trio.sleep(2 * LOOK_EVERY_S)
    world.dao.index = SECOND[0]  # not confirmed yet, or a lie of one endpoint
    await trio.sleep(10 * LOOK_EVERY_S)
    assert moderation.in_force == FIRST[0]
    assert denylist.reason(release=RELEASE) == release_text(RELEASE)
    nursery.cancel_scope.cancel()


async def test_a_digest_of_something_else_is_never_in_force(autojump_clock, nursery):
    world = World()
    block = b"no list at all"
    digest = cid_of(block)[-32:]
    world.peers[list_cid(digest)] = block
    world.dao.adopt(digest)
    moderation, denylist = world.node()
    await nursery.start(moderation.run)
    await trio.sleep(10 * LOOK_EVERY_S)
    assert (moderation.in_force, len(denylist)) == (NO_LIST, 1)
    assert (await moderation.check()).state is Health.DEGRADED
    with pytest.raises(MalformedError):
        await moderation.read(digest)
    nursery.cancel_scope.cancel()


async def test_a_lost_block_is_fetched_again(autojump_clock, nursery):
    world = World()
    world.offer(FIRST)
    world.dao.adopt(FIRST[0])
    moderation, _ = world.node()
    await nursery.start(moderation.run)
    await trio.sleep(2 * LOOK_EVERY_S)
    world.blocks = MemoryBlockStore(quota_bytes=1 << 24)
    again, denylist = world.node()
    await again.load()
    assert (again.in_force, (await again.check()).state) == (NO_LIST, Health.DEGRADED)
    await nursery.start(again.run)
    await trio.sleep(2 * LOOK_EVERY_S)
    assert (again.in_force, again.problem) == (FIRST[0], "")
    assert denylist.reason(release=RELEASE) == release_text(RELEASE)
    nursery.cancel_scope.cancel()


async def test_following_without_a_chain_is_said(autojump_clock, nursery):
    world = World()
    world.dao.chain_id = None
    moderation, _ = world.node()
    await moderation.load()
    await nursery.start(moderation.run)
    found = await moderation.check()
    assert (found.state, "chain.profile" in found.sentence) == (Health.DEGRADED, True)
    nursery.cancel_scope.cancel()


async def test_a_list_is_made_of_a_text_and_compared_with_the_adopted_one(tmp_path):
    world = World()
    world.offer(FIRST)
    world.dao.adopt(FIRST[0])
    moderation, _ = world.node(is_followed=False)
    file = tmp_path / "list.txt"
    file.write_text(f"# spring\n\n{track_text(TRACK)}\tanother\n")
    made = await moderation.make(file)
    assert (made.digest, made.previous, made.is_compared) == (SECOND[0], FIRST[0], True)
    assert ([str(each)[:3] for each in made.added], [str(each)[:3] for each in made.removed]) == (
        ["tr_"],
        ["rl_"],
    )
    assert await world.blocks.get(made.cid) == SECOND[1]
    assert world.announced == [made.cid]
    assert await world.pins.retention(made.cid) is Retention.OWN


async def test_an_adopted_list_that_is_not_to_be_had_does_not_keep_a_new_one_from_being_made(tmp_path):
    world = World()
    world.dao.adopt(FIRST[0])
    moderation, _ = world.node()
    file = tmp_path / "list.txt"
    file.write_text(f"{track_text(TRACK)} another\n")
    made = await moderation.make(file)
    assert (made.digest, made.is_compared, len(made.added)) == (SECOND[0], False, 1)


async def test_a_block_from_a_file_comes_into_force_if_it_is_the_adopted_one(tmp_path, nursery):
    world = World()
    world.dao.adopt(FIRST[0])
    moderation, denylist = world.node()
    await nursery.start(moderation.run)
    file = tmp_path / "list.block"
    file.write_bytes(SECOND[1])
    with pytest.raises(WrongListError, match="not the moderation list that the DAO adopted"):
        await moderation.take(file)
    assert not await world.blocks.has(list_cid(SECOND[0]))
    file.write_bytes(FIRST[1])
    assert (await moderation.take(file))[0] == FIRST[0]
    with trio.fail_after(5):
        while moderation.in_force != FIRST[0]:
            await trio.sleep(0.01)
    assert denylist.reason(release=RELEASE) == release_text(RELEASE)
    nursery.cancel_scope.cancel()


async def test_files_that_cannot_be_a_list_are_refused(tmp_path):
    world = World()
    moderation, _ = world.node()
    with pytest.raises(NotFoundError, match="adopted no moderation list"):
        await moderation.take(tmp_path / "none")
    world.dao.adopt(FIRST[0])
    binary, huge = tmp_path / "binary", tmp_path / "huge"
    binary.write_bytes(b"\xff\xfe")
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    for path, said in (
        (Path("list.txt"), "whole path"),
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "cannot be read"),
        (binary, "no UTF-8 text"),
        (huge, "larger than 4 MiB"),
    ):
        with pytest.raises(UsageError, match=said):
            await moderation.make(path)
