"""The watch over one's own releases: it warns before a key is lost, once a round, and says what to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from marina.clock import ManualClock
from marina.errors import NetworkError
from marina.ids import release_text
from node.health import Health
from node.keys.quorum import QuorumCheck
from node.selling.desk import finality_of
from node.selling.sold import Sold, sold_tiers, unanchored
from node.selling.watch import KeyWatch, distinct_boxes, weakest
from storage.content.keybox import public_keybox
from storage.content.track import TIER_PREVIEW, TIER_STREAM
from tests.support.guardians import KC, KEY, NAME, TRACK, Guardian, Party

RELEASE = b"r" * 32
CID = bytes.fromhex("01711220") + b"m" * 32


class Shelf:
    """One release of this owner with a free clip and a guarded tier."""

    def __init__(self, party: Party, k: int, *, is_here: bool = True) -> None:
        free = public_keybox(NAME, KEY, KC)
        self.boxes = {b"free": free.to_bytes(), b"sold": party.box(k).to_bytes()}
        self.is_here = is_here
        self.is_withdrawn = False

    async def mine(self):
        await trio.lowlevel.checkpoint()
        entry = SimpleNamespace(
            cid=CID, release_id=RELEASE, title="Night Drive", is_withdrawn=self.is_withdrawn
        )
        return [entry]

    async def resolve_release_cid(self, cid: bytes):
        await trio.lowlevel.checkpoint()
        if not self.is_here:
            raise NetworkError("nobody has it")
        rows = [
            SimpleNamespace(tier=tier, keybox=name, layout=SimpleNamespace(root=b"root"))
            for tier, name in ((TIER_PREVIEW, b"free"), (TIER_STREAM, b"sold"))
        ]
        return SimpleNamespace(meant=[SimpleNamespace(track_id=TRACK, renditions=rows)])

    async def block(self, root: bytes, cid: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.boxes[cid]


def party_of(*kinds: str) -> Party:
    clock = ManualClock()
    return Party([Guardian(f"g{i}", clock, kind) for i, kind in enumerate(kinds)])


def watch_of(shelf: Shelf, party: Party, *, is_on: bool = True, **more: object) -> KeyWatch:
    async def quorum(target):
        return await weakest(await sold_tiers(target.meant, shelf.block), QuorumCheck(line=party))

    return KeyWatch(library=shelf, quorum=quorum, is_on=lambda: is_on, **more)


@pytest.mark.parametrize(
    ("kinds", "state", "words"),
    [
        (["honest"] * 5, Health.HEALTHY, "the keys of 1 releases are within reach"),
        (
            ["honest"] * 4 + ["gone"],
            Health.DEGRADED,
            "4 of 5 guardians are ready and 3 are needed; a few more",
        ),
        (["honest"] * 2 + ["gone"] * 3, Health.DEGRADED, "nobody new can hear it"),
    ],
)
async def test_what_the_last_look_found_is_told(kinds, state, words, caplog):
    party = party_of(*kinds)
    watch = watch_of(Shelf(party, 3), party)
    assert (await watch.check()).sentence == "nothing of yours is sold"
    await watch.look()
    said = await watch.check()
    assert said.state is state
    assert words in said.sentence
    warned = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert (len(warned), "reissue " + release_text(RELEASE)[:14] in said.sentence) == (
        (0, False) if state is Health.HEALTHY else (1, True)
    )


async def test_a_live_delegate_is_no_reason_to_let_the_guardians_dwindle():
    party, delegate = party_of("honest", "honest", "gone"), Guardian("delegate", ManualClock())
    both = Party(party.guardians, (delegate,))
    watch = watch_of(Shelf(both, 1), both)
    await watch.look()
    assert "2 of 3 guardians are ready" in (await watch.check()).sentence
    alone = Party([], (delegate,))
    watch = watch_of(Shelf(alone, 1), alone)
    await watch.look()
    assert (await watch.check()).state is Health.HEALTHY


async def test_a_release_that_is_not_here_or_withdrawn_hides_nothing_else():
    party = party_of("gone")
    shelf = Shelf(party, 1, is_here=False)
    watch = watch_of(shelf, party)
    assert await watch.look() == ()
    shelf.is_here, shelf.is_withdrawn = True, True
    assert await watch.look() == ()
    assert (await watch.check()).state is Health.HEALTHY


async def test_it_looks_soon_after_the_start_and_then_every_few_hours(autojump_clock):
    party = party_of("honest", "honest", "honest")
    watch = watch_of(Shelf(party, 1), party, first_s=60.0, every_s=3600.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(watch.run)
        await trio.sleep(30)
        assert party.guardians[0].asked == 0
        await trio.sleep(60)
        assert party.guardians[0].asked == 1
        await trio.sleep(3600)
        assert party.guardians[0].asked == 2
        nursery.cancel_scope.cancel()


async def test_without_a_chain_nobody_is_asked(autojump_clock):
    party = party_of("honest")
    watch = watch_of(Shelf(party, 1), party, is_on=False, first_s=1.0)
    with trio.move_on_after(100):
        await watch.run()
    assert party.guardians[0].asked == 0


def test_each_set_of_holders_is_asked_once():
    one, other = party_of("honest", "honest"), party_of("honest", "honest", "honest")
    tiers = [Sold(TRACK, 1, one.box(1)), Sold(TRACK, 2, one.box(1)), Sold(TRACK, 2, other.box(1))]
    assert [box.n for box in distinct_boxes(tiers)] == [2, 3]


def test_only_later_keyboxes_are_left_to_be_anchored():
    party = party_of("honest")
    first, second = party.box(1, epoch=1), party.box(1, epoch=2)
    tier = Sold(TRACK, 1, second)
    rows = [
        (SimpleNamespace(epoch=0, digest=None), True),
        (SimpleNamespace(epoch=1, digest=first.cid[-32:]), True),
        (SimpleNamespace(epoch=2, digest=second.cid[-32:]), False),
        (SimpleNamespace(epoch=3, digest=b"x" * 32), False),
    ]
    for known, is_left in rows:
        assert (unanchored([tier], [known]) == [tier]) is is_left


def test_what_comes_out_later_is_final_before_it_is_released():
    box = party_of("honest").box(1)
    later = SimpleNamespace(box=SimpleNamespace(not_before=1))
    assert [finality_of(Sold(TRACK, 1, box), each) for each in (None, 1, 2)] == [0, 1, 2]
    assert [finality_of(later, each) for each in (None, 0)] == [2, 0]
