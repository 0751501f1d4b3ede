"""Seeded swarms in virtual time: peers that lie, stall or vanish, and a player that must not starve."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from random import Random

import pytest

from marina.ids import PeerId
from storage.content.layout import SegmentPlan
from streaming.scheduler import Cancel, Scheduler, SchedulerConfig


@dataclass
class SimPeer:
    rate_bps: float
    latency_s: float
    kind: str = "honest"
    gone_at_s: float = float("inf")
    busy_until_s: float = 0.0


class Sim:
    """Drives a scheduler against simulated peers; a player reads from the start at the bitrate."""

    def __init__(self, *, size: int, bytes_per_s: float, peers: dict[str, SimPeer], seed: int) -> None:
        self.plan = SegmentPlan(size)
        self.scheduler = Scheduler(self.plan, frozenset(), config=SchedulerConfig())
        self.bytes_per_s = bytes_per_s
        self.peers = {PeerId(name): peer for name, peer in peers.items()}
        self.rng = Random(seed)
        self.events: list[tuple[float, int, str, PeerId, int]] = []
        self.generation = dict.fromkeys(self.peers, 0)
        self.epoch: dict[tuple[PeerId, int], int] = {}
        self.sequence = 0
        self.now_s = 0.0
        self.sent_bytes = 0
        self.stalled_s = 0.0
        self.start_s: float | None = None
        self.accepted_from_liars = 0

    def at(self, when_s: float, kind: str, peer: PeerId, index: int) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (when_s, self.sequence, kind, peer, index))
        self.epoch[peer, self.sequence] = self.generation[peer]

    def act(self) -> None:
        for action in self.scheduler.actions(self.now_s):
            peer = self.peers[action.peer]
            if isinstance(action, Cancel):
                self.generation[action.peer] += 1
                peer.busy_until_s = self.now_s
                continue
            for index in action.indices:
                size = self.plan.ciphertext(index).length
                begin_s = max(self.now_s + peer.latency_s, peer.busy_until_s)
                done_s = begin_s + size / peer.rate_bps
                if peer.kind == "stall" or done_s > peer.gone_at_s:
                    continue
                peer.busy_until_s = done_s
                self.at(done_s, "lacks" if peer.kind == "lacks" else "data", action.peer, index)

    def run(self, until_s: float) -> None:
        for name, peer in self.peers.items():
            self.scheduler.add_peer(name, None)
            if peer.gone_at_s < until_s:
                self.at(peer.gone_at_s + 0.05, "gone", name, 0)
        self.scheduler.set_cursor(1, 0, self.bytes_per_s, 0.0)
        played, last_s = 0.0, 0.0
        while self.now_s < until_s and not self.scheduler.is_complete:
            self.act()
            tick_s = self.now_s + 0.05
            if self.events and self.events[0][0] <= tick_s:
                self.now_s, sequence, kind, peer, index = heapq.heappop(self.events)
                if self.epoch[peer, sequence] == self.generation[peer] or kind == "gone":
                    self.handle(kind, peer, index)
            else:
                self.now_s = tick_s
            played = self.play(played, self.now_s - last_s)
            last_s = self.now_s

    def handle(self, kind: str, peer: PeerId, index: int) -> None:
        if kind == "gone":
            self.scheduler.drop_peer(peer)
        elif kind == "lacks":
            self.scheduler.lacks(peer, index)
        else:
            self.sent_bytes += self.plan.ciphertext(index).length
            if self.peers[peer].kind == "lie":
                self.scheduler.lied(peer, index)
                self.generation[peer] += 1
            else:
                self.scheduler.arrived(peer, index, self.now_s)

    def play(self, played: float, elapsed_s: float) -> float:
        """Advance the player by real time if the bytes are there; count the time it starved."""
        if self.start_s is None:
            if not self.scheduler.is_missing(0):
                self.start_s = self.now_s
            return played
        target = min(played + elapsed_s * self.bytes_per_s, self.plan.plaintext_bytes - 1)
        index = self.plan.index_at(int(target))
        if self.scheduler.is_missing(index):
            self.stalled_s += elapsed_s
            return played
        self.scheduler.set_cursor(1, index, self.bytes_per_s, self.now_s)
        return target


def swarm(seed: int, bad_share: float) -> dict[str, SimPeer]:
    rng = Random(seed)
    kinds = ["lie", "stall", "lacks"]
    peers = {}
    for number in range(12):
        kind = rng.choice(kinds) if rng.random() < bad_share else "honest"
        peers[f"p{number}"] = SimPeer(rng.uniform(100e3, 3e6), rng.uniform(0.01, 0.15), kind)
    peers["p0"] = SimPeer(400e3, 0.05)
    return peers


def test_with_a_third_of_the_peers_byzantine_sound_starts_soon_and_does_not_break():
    starts, overheads, stalls = [], [], []
    for seed in range(60):
        sim = Sim(size=6_000_000, bytes_per_s=40_000, peers=swarm(seed, 0.3), seed=seed)
        sim.run(until_s=200)
        assert sim.scheduler.is_complete
        starts.append(sim.start_s)
        overheads.append(sim.sent_bytes / sim.plan.ciphertext_bytes)
        stalls.append(sim.stalled_s)
    assert sorted(starts)[int(0.95 * len(starts))] < 2.0
    assert sorted(overheads)[int(0.95 * len(overheads))] <= 1.3
    assert sum(stall > 0.2 for stall in stalls) <= 2


def test_a_peer_killed_in_mid_track_does_not_break_the_sound():
    peers = {
        "a": SimPeer(80e3, 0.02, gone_at_s=20.0),
        "b": SimPeer(80e3, 0.02),
        "c": SimPeer(80e3, 0.02),
    }
    sim = Sim(size=4_000_000, bytes_per_s=40_000, peers=peers, seed=1)
    sim.run(until_s=120)
    assert sim.scheduler.is_complete
    assert sim.stalled_s == 0


def test_two_providers_are_about_twice_as_fast_as_one():
    times = []
    for count in (1, 2):
        sim = Sim(
            size=20_000_000,
            bytes_per_s=40_000,
            peers={f"p{i}": SimPeer(2e6, 0.02) for i in range(count)},
            seed=3,
        )
        sim.scheduler.want_all()
        sim.run(until_s=120)
        assert sim.scheduler.is_complete
        times.append(sim.now_s)
    assert times[1] < 0.62 * times[0]


def test_the_same_seed_gives_the_same_actions():
    runs = []
    for _ in range(2):
        sim = Sim(size=3_000_000, bytes_per_s=40_000, peers=swarm(7, 0.3), seed=7)
        sim.run(until_s=60)
        runs.append((sim.now_s, sim.sent_bytes, sim.start_s))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("seed", range(10))
def test_a_storm_of_seeks_is_answered_by_the_last_place(seed):
    rng = Random(seed)
    peers = {"a": SimPeer(1e6, 0.03), "b": SimPeer(1e6, 0.03)}
    sim = Sim(size=30_000_000, bytes_per_s=100_000, peers=peers, seed=seed)
    sim.scheduler.want_all()
    for name in sim.peers:
        sim.scheduler.add_peer(name, None)
    for _ in range(20):
        target = rng.randrange(sim.plan.count)
        sim.scheduler.set_cursor(1, target, 100_000, sim.now_s)
        asked_s = sim.now_s
        while sim.scheduler.is_missing(target):
            sim.act()
            sim.now_s, sequence, kind, peer, index = heapq.heappop(sim.events)
            if sim.epoch[peer, sequence] == sim.generation[peer]:
                sim.handle(kind, peer, index)
            assert sim.now_s - asked_s < 1.5
