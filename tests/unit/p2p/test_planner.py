import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marina.ids import Account, PeerId
from p2p.replication.planner import Candidate, Planner, PlannerConfig, Stage

ME = Account(b"m" * 20)
NOW = 1_700_000_000
SIZE, DAY = 10**9, 86_400


def account(number: int) -> Account:
    return Account(number.to_bytes(20, "big"))


def operator(number: int, **changes) -> Candidate:
    fields = {
        "peer": PeerId(f"p{number:03}"),
        "account": account(number),
        "subnet": f"10.{number}.0.0/24",
        "free_bytes": 10 * SIZE,
        "release_bytes_max": 10 * SIZE,
        "pledge_s_max": 30 * DAY,
        "score": 1.0,
    }
    return Candidate(**(fields | changes))


def planner(wanted: int = 2, **config) -> Planner:
    return Planner(own=ME, wanted=wanted, size_bytes=SIZE, duration_s=7 * DAY, config=PlannerConfig(**config))


def keep(plan: Planner, candidate: Candidate, now: int = NOW) -> None:
    """Take one operator all the way."""
    plan.asked(candidate, now)
    plan.pledged(candidate.peer, now + 7 * DAY, now)
    plan.progressed(candidate.peer, SIZE, now, is_complete=True)
    plan.audited(candidate.peer, now)


def test_as_many_are_asked_as_are_missing_and_one_spare():
    plan = planner(2)
    asks = plan.next_asks([operator(i) for i in range(1, 9)], NOW)
    assert len(asks) == 3
    for each in asks:
        plan.asked(each, NOW)
    assert plan.next_asks([operator(i) for i in range(1, 9)], NOW) == []


def test_k_counts_distinct_accounts_with_an_audited_copy():
    plan = planner(2)
    keep(plan, operator(1))
    keep(plan, operator(2, account=account(1)))
    assert plan.count(NOW) == 1
    assert not plan.is_safe(NOW)
    keep(plan, operator(3))
    assert plan.is_safe(NOW)
    assert plan.next_asks([operator(9)], NOW) == []


def test_a_complete_copy_without_an_audit_does_not_count():
    plan = planner(1)
    plan.asked(operator(1), NOW)
    plan.pledged(operator(1).peer, NOW + DAY, NOW)
    plan.progressed(operator(1).peer, SIZE, NOW, is_complete=True)
    assert plan.count(NOW) == 0
    assert plan.due_audits(NOW) == [operator(1).peer]


def test_the_artists_own_account_is_not_asked():
    assert planner(2).next_asks([operator(1, account=ME)], NOW) == []


@pytest.mark.parametrize(
    "changes", [{"free_bytes": SIZE - 1}, {"release_bytes_max": SIZE - 1}, {"pledge_s_max": DAY}]
)
def test_an_offer_that_does_not_fit_is_not_asked(changes):
    assert planner(1).next_asks([operator(1, **changes)], NOW) == []


def test_operators_are_spread_over_accounts_and_subnets():
    crowd = [operator(i, subnet="10.0.0.0/24", score=1.0) for i in range(1, 6)]
    crowd += [operator(20 + i, account=account(1), subnet=f"10.9.{i}.0/24") for i in range(5)]
    elsewhere = [operator(50, subnet="10.50.0.0/24", score=0.3)]
    asks = planner(3).next_asks(crowd + elsewhere, NOW)
    assert len({each.account for each in asks}) == len(asks) == 4
    assert operator(50, subnet="10.50.0.0/24", score=0.3) in asks


def test_better_conduct_then_more_space_goes_first():
    asks = planner(1, spare=0).next_asks(
        [operator(1, score=0.5), operator(2, score=0.9), operator(3, score=0.5, free_bytes=99 * SIZE)], NOW
    )
    assert [each.peer for each in asks] == ["p002"]


@pytest.mark.parametrize(
    ("stage", "after_s", "reason"),
    [("asked", 61, "did not answer"), ("pledged", 901, "no progress"), ("fetching", 901, "no progress")],
)
def test_a_missed_deadline_fails_an_operator_and_another_is_asked(stage, after_s, reason):
    plan = planner(1, spare=0)
    one, two = operator(1), operator(2)
    plan.asked(one, NOW)
    if stage != "asked":
        plan.pledged(one.peer, NOW + 7 * DAY, NOW)
    if stage == "fetching":
        plan.progressed(one.peer, 5, NOW, is_complete=False)
    assert plan.next_asks([one, two], NOW + after_s - 2) == []
    assert plan.expire(NOW + after_s) == [one.peer]
    assert reason in plan.get(one.peer).reason
    assert plan.next_asks([one, two], NOW + after_s) == [two]
    # It may try again later.
    assert plan.next_asks([one], NOW + after_s + 3600) == [one]


def test_growth_is_a_sign_of_life_and_repetition_is_not():
    plan = planner(1)
    plan.asked(operator(1), NOW)
    plan.pledged("p001", NOW + 7 * DAY, NOW)
    plan.progressed("p001", 5, NOW + 800, is_complete=False)
    plan.progressed("p001", 6, NOW + 1600, is_complete=False)
    assert plan.expire(NOW + 2400) == []
    plan.progressed("p001", 6, NOW + 2400, is_complete=False)
    assert plan.expire(NOW + 2600) == ["p001"]


def test_a_pledge_that_ends_no_longer_counts():
    plan = planner(1)
    keep(plan, operator(1))
    assert plan.is_safe(NOW)
    assert not plan.is_safe(NOW + 8 * DAY)
    assert plan.expire(NOW + 8 * DAY) == ["p001"]


def test_audited_copies_are_audited_again_and_a_failed_audit_counts_against_k():
    plan = planner(1)
    keep(plan, operator(1))
    assert plan.due_audits(NOW + 3600) == []
    assert plan.due_audits(NOW + 6 * 3600) == ["p001"]
    plan.failed("p001", "it lacks segments", NOW + 6 * 3600)
    assert plan.count(NOW + 6 * 3600) == 0
    assert plan.next_asks([operator(2)], NOW + 6 * 3600) == [operator(2)]


def test_stages_are_not_skipped():
    plan = planner(1)
    plan.asked(operator(1), NOW)
    with pytest.raises(ValueError, match="asked to audited"):
        plan.audited("p001", NOW)


class Campaigns(RuleBasedStateMachine):
    """Whatever operators do in whatever order, k is honest and nobody is asked twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.plan = planner(3)
        self.pool = [operator(i, account=account(i % 7 + 1), subnet=f"10.{i % 4}.0.0/24") for i in range(12)]

    @rule()
    def ask(self) -> None:
        asks = self.plan.next_asks(self.pool, self.now)
        assert len({each.account for each in asks}) == len(asks)
        for each in asks:
            known = self.plan.get(each.peer)
            assert known is None or known.stage is Stage.FAILED
            self.plan.asked(each, self.now)

    @precondition(lambda self: self.plan.replicas())
    @rule(data=st.data())
    def move(self, data) -> None:
        replica = data.draw(st.sampled_from(self.plan.replicas()))
        if data.draw(st.integers(0, 4)) == 0:
            self.plan.failed(replica.peer, "gone", self.now)
        elif replica.stage is Stage.ASKED:
            self.plan.pledged(replica.peer, self.now + 7 * DAY, self.now)
        elif replica.stage in {Stage.PLEDGED, Stage.FETCHING}:
            done = data.draw(st.booleans())
            self.plan.progressed(replica.peer, replica.have_bytes + 1, self.now, is_complete=done)
        elif replica.stage in {Stage.COMPLETE, Stage.AUDITED}:
            self.plan.audited(replica.peer, self.now)

    @rule(seconds=st.sampled_from([1, 100, 1000, DAY, 8 * DAY]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.plan.expire(self.now)

    @invariant()
    def k_is_honest(self) -> None:
        good = {
            each.account
            for each in self.plan.replicas()
            if each.stage is Stage.AUDITED and each.until_s > self.now
        }
        assert self.plan.count(self.now) == len(good)
        assert self.plan.is_safe(self.now) == (len(good) >= 3)


TestCampaigns = Campaigns.TestCase
TestCampaigns.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
