import hashlib
import math
from random import Random

import trio

from marina.cid import cid_of
from p2p.errors import PeerGoneError
from p2p.replication.audit import AuditedRoot, Auditor, pick


def rendition(name: str, count: int) -> tuple[AuditedRoot, list[bytes]]:
    parts = [f"{name}{i}".encode() for i in range(count)]
    digests = tuple(hashlib.sha256(part).digest() for part in parts)
    return AuditedRoot(cid_of(name.encode()), digests, tuple(map(len, parts))), parts


class Probe:
    """An operator in memory; the sets change what it says and does."""

    def __init__(self, *renditions) -> None:
        self.parts = {(root.root, i): part for root, parts in renditions for i, part in enumerate(parts)}
        self.lost: set = set()
        self.hidden: set = set()
        self.wrong: set = set()
        self.asked: list = []
        self.error = None
        self.hangs = False

    async def have(self, peer, root):
        if self.error:
            raise self.error
        if self.hangs:
            await trio.sleep(math.inf)
        return frozenset(i for r, i in self.parts if r == root and (r, i) not in self.lost)

    async def segment(self, peer, root, index, length):
        self.asked.append((root, index))
        if (root, index) in self.hidden:
            return None
        return b"x" * length if (root, index) in self.wrong else self.parts[root, index]


async def audit(probe, *renditions, seed=1, segments=30):
    auditor = Auditor(probe=probe, rng=Random(seed), segments=segments)
    return await auditor.audit("peer", [root for root, _ in renditions], timeout_s=10)


async def test_a_complete_copy_passes_and_every_sample_is_another_segment():
    one, two = rendition("a", 50), rendition("b", 20)
    probe = Probe(one, two)
    result = await audit(probe, one, two)
    assert (result.passed, result.segments) == (True, 30)
    assert len(set(probe.asked)) == 30


async def test_a_copy_that_admits_a_gap_does_not_pass_and_is_no_lie():
    one = rendition("a", 50)
    probe = Probe(one)
    probe.lost = {(one[0].root, 7)}
    result = await audit(probe, one)
    assert (result.passed, result.is_lie, result.reason) == (False, False, "it lacks 1 of 50 segments")


async def test_claimed_segments_that_are_not_delivered_or_wrong_are_lies():
    one = rendition("a", 10)
    for kind in ("hidden", "wrong"):
        probe = Probe(one)
        getattr(probe, kind).add((one[0].root, 3))
        result = await audit(probe, one)
        assert (result.passed, result.is_lie) == (False, True)


async def test_silence_and_a_broken_connection_fail_without_being_lies(autojump_clock):
    one = rendition("a", 10)
    probe = Probe(one)
    probe.hangs = True
    result = await audit(probe, one)
    assert (result.passed, result.is_lie) == (False, False)
    assert "10 s" in result.reason
    probe.hangs, probe.error = False, PeerGoneError("it went away")
    assert not (await audit(probe, one)).passed


async def test_a_tenth_lost_is_found_in_nineteen_of_twenty_audits():
    """Threat T32, scaled: 30 challenges against a copy that lost 10 % and claims all."""
    one = rendition("a", 400)
    found = 0
    for seed in range(200):
        probe = Probe(one)
        rng = Random(seed)
        probe.hidden = {(one[0].root, i) for i in rng.sample(range(400), 40)}
        found += not (await audit(probe, one, seed=seed)).passed
    assert found / 200 >= 0.95


def test_every_segment_of_every_rendition_can_be_drawn():
    one, two = rendition("a", 3), rendition("b", 2)
    drawn = pick([one[0], two[0]], 99, Random(1))
    assert sorted((each.root, i) for each, i in drawn) == sorted(
        [(one[0].root, i) for i in range(3)] + [(two[0].root, i) for i in range(2)]
    )
