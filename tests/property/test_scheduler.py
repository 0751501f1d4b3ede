"""The scheduler under any order of events: what it must never do, and that it always ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from marina.ids import PeerId
from storage.content.layout import SegmentPlan
from streaming.scheduler import Cancel, Scheduler, SchedulerConfig

PEERS = [PeerId(name) for name in "abcd"]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "add",
                "drop",
                "answer",
                "answer",
                "answer",
                "lack",
                "busy",
                "lie",
                "seek",
                "wait",
                "all",
                "tick",
            ]
        ),
        st.integers(0, 3),
        st.integers(0, 10_000),
    ),
    max_size=120,
)


class Model:
    """What the driver knows: who is here, who owes what, who lied."""

    def __init__(self, size: int) -> None:
        self.plan = SegmentPlan(size)
        self.config = SchedulerConfig()
        self.scheduler = Scheduler(self.plan, frozenset())
        self.owed: dict[PeerId, list[int]] = {}
        self.here: set[int] = set()
        self.liars: set[PeerId] = set()
        self.now_s = 0.0

    def act(self) -> None:
        for action in self.scheduler.actions(self.now_s):
            owed = self.owed[action.peer]
            assert action.peer not in self.liars
            if isinstance(action, Cancel):
                owed.clear()
                continue
            assert sum(self.plan.ciphertext(i).length for i in action.indices) <= self.config.batch_bytes
            for index in action.indices:
                assert index not in self.here
                assert index not in owed
                owed.append(index)
        for index in range(self.plan.count):
            assert sum(index in owed for owed in self.owed.values()) <= 4
            assert self.scheduler.is_missing(index) == (index not in self.here)

    def apply(self, event: str, peer: PeerId, number: int) -> None:
        self.now_s += 0.02
        owed = self.owed.get(peer, [])
        if event == "add" and peer not in self.owed and peer not in self.liars:
            self.owed[peer] = []
            self.scheduler.add_peer(peer, None)
        elif event == "drop" and self.owed.pop(peer, None) is not None:
            self.scheduler.drop_peer(peer)
        elif event == "seek":
            self.scheduler.demand.set_cursor(1, number % self.plan.count, 20_000, self.now_s)
        elif event == "wait":
            self.scheduler.demand.wait_for(number % self.plan.count, self.now_s)
        elif event == "all":
            self.scheduler.want_all()
        elif event == "tick":
            self.now_s += number / 1000
        elif owed:
            self.answer(event, peer, owed)
        self.act()

    def answer(self, event: str, peer: PeerId, owed: list[int]) -> None:
        index = owed.pop(0)
        if event == "answer":
            self.here.add(index)
            self.scheduler.arrived(peer, index, self.now_s)
        elif event == "lack":
            self.scheduler.lacks(peer, index, self.now_s)
        elif event == "busy":
            self.scheduler.failed(peer, (index,), self.now_s)
        elif event == "lie":
            self.liars.add(peer)
            del self.owed[peer]
            self.scheduler.lied(peer, index)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 200_000, 1_000_000, 6_000_000]), EVENTS)
def test_nothing_is_asked_twice_of_a_peer_or_of_a_liar_and_the_song_ends(size, events):
    model = Model(size)
    for event, number, value in events:
        model.apply(event, PEERS[number], value)
    # Whatever happened: one honest peer is enough to end it.
    honest = PeerId("honest")
    model.apply("add", honest, 0)
    model.apply("all", honest, 0)
    for _ in range(3000):
        if model.scheduler.is_complete:
            break
        model.apply("answer", honest, 0)
        model.now_s += 0.05
    assert model.scheduler.is_complete
    assert not model.scheduler.actions(model.now_s)


@given(st.integers(1, 20_000_000), st.integers(1, 10**6), st.data())
def test_deadlines_are_in_the_order_of_the_sound(size, pace, data):
    plan = SegmentPlan(size)
    scheduler = Scheduler(plan, frozenset())
    place = data.draw(st.integers(0, plan.count - 1))
    scheduler.found(frozenset({0, *range(max(0, plan.count - 2), plan.count)} - {place}))
    scheduler.demand.set_cursor(1, place, pace, 5.0)
    missing = {index for index in range(plan.count) if scheduler.is_missing(index)}
    deadlines = scheduler.demand.deadlines(missing, 5.0)
    ahead = sorted(deadlines)
    assert all(index >= place for index in ahead)
    assert deadlines.get(place, 5.0) == 5.0
    assert [deadlines[index] for index in ahead] == sorted(deadlines.values())
    for index in ahead:
        assert deadlines[index] <= 5.0 + SchedulerConfig().buffer_s
