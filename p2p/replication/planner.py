"""Whom to ask for a replica next, and what counts as one: a pure state machine.

::

    asked ──► pledged ──► fetching ──► complete ──► audited
      │          │           │            │            │ audit fails or pledge ends
      └──────────┴───────────┴────────────┴────────────┴──► failed ──► somebody else is asked

A replica counts when its account's copy is complete, passed an audit, and its pledge still runs; several
peers of one account count once. Operators are asked in the order: new account before known, new subnet
before crowded, good conduct, much free space. Source: design, architecture §13 "Pledge", security §6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from marina.ids import Account, PeerId


class Stage(Enum):
    """How far a replica is."""

    ASKED = "asked"
    PLEDGED = "pledged"
    FETCHING = "fetching"
    COMPLETE = "complete"
    AUDITED = "audited"
    FAILED = "failed"


_NEXT: dict[Stage, frozenset[Stage]] = {
    Stage.ASKED: frozenset({Stage.PLEDGED}),
    Stage.PLEDGED: frozenset({Stage.FETCHING, Stage.COMPLETE}),
    Stage.FETCHING: frozenset({Stage.COMPLETE}),
    Stage.COMPLETE: frozenset({Stage.AUDITED}),
    Stage.AUDITED: frozenset({Stage.AUDITED}),
    Stage.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An operator that could be asked.

    Attributes:
        peer: its device.
        account: who answers for it.
        subnet: /24 or /48 of its address, None for this machine or unknown.
        free_bytes: space it offers.
        release_bytes_max: largest release it takes.
        pledge_s_max: longest pledge it gives.
        score: conduct from 0 (bad) to 1, as this node saw it.
    """

    peer: PeerId
    account: Account
    subnet: str | None
    free_bytes: int
    release_bytes_max: int
    pledge_s_max: int
    score: float


@dataclass(frozen=True, slots=True)
class Replica:
    """One operator's part in a campaign.

    Attributes:
        peer: its device.
        account: who answers for it.
        subnet: where it was when it was asked.
        stage: how far it is.
        since_s: Unix second of the last change of stage, or of the last sign of progress.
        until_s: end of its pledge; 0 before it pledged.
        have_bytes: what it said that it has.
        checked_s: Unix second of its last status query or audit.
        reason: why it failed.
    """

    peer: PeerId
    account: Account
    subnet: str | None
    stage: Stage
    since_s: int
    until_s: int = 0
    have_bytes: int = 0
    checked_s: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """Deadlines and counts.

    Attributes:
        spare: replicas in progress beyond what is missing, so that one slow operator costs nothing.
        answer_s: an asked operator answers within this.
        progress_s: a pledged one shows progress within this.
        check_every_s: between two status queries while it fetches.
        audit_every_s: between two audits of a complete copy.
        forgive_s: a failed operator may be asked again after this.
        replicas_max: operators remembered in one campaign.
    """

    spare: int = 1
    answer_s: int = 60
    progress_s: int = 900
    check_every_s: int = 10
    audit_every_s: int = 6 * 3600
    forgive_s: int = 3600
    replicas_max: int = 64


class Planner:
    """The state of one campaign: one release, N replicas wanted."""

    def __init__(
        self,
        *,
        own: Account,
        wanted: int,
        size_bytes: int,
        duration_s: int,
        config: PlannerConfig | None = None,
        replicas: Iterable[Replica] = (),
    ) -> None:
        if wanted < 1 or size_bytes < 1:
            raise ValueError("a campaign wants at least one replica of at least one byte")
        self._own = own
        self.wanted = wanted
        self.size_bytes = size_bytes
        self.duration_s = duration_s
        self._config = config or PlannerConfig()
        self._replicas = {each.peer: each for each in replicas}

    def replicas(self) -> list[Replica]:
        """Return every operator's part, furthest first."""
        order = list(Stage)[::-1]
        return sorted(self._replicas.values(), key=lambda each: (order.index(each.stage), each.since_s))

    def get(self, peer: PeerId) -> Replica | None:
        """Return one operator's part."""
        return self._replicas.get(peer)

    def count(self, now_s: int) -> int:
        """Return k: distinct accounts, not the artist's own, with an audited copy and a running pledge."""
        return len(self._accounts({Stage.AUDITED}, now_s))

    def is_safe(self, now_s: int) -> bool:
        """Return whether the artist may close: k ≥ N."""
        return self.count(now_s) >= self.wanted

    def next_asks(self, candidates: Iterable[Candidate], now_s: int) -> list[Candidate]:
        """Return whom to ask now, best first; empty while enough are good or on the way."""
        working = {Stage.ASKED, Stage.PLEDGED, Stage.FETCHING, Stage.COMPLETE}
        missing = self.wanted - self.count(now_s)
        if missing <= 0:
            return []
        on_the_way = len(self._accounts(working, now_s) - self._accounts({Stage.AUDITED}, now_s))
        room = missing + self._config.spare - on_the_way
        usable = [each for each in candidates if self._may_ask(each, now_s)]
        chosen: list[Candidate] = []
        accounts = self._accounts(working | {Stage.AUDITED}, now_s)
        subnets = Counter(each.subnet for each in self._living(now_s) if each.subnet is not None)
        while usable and len(chosen) < room:
            best = min(usable, key=lambda each: self._rank(each, subnets))
            usable = [each for each in usable if each.account != best.account]
            if best.account in accounts:
                continue
            chosen.append(best)
            if best.subnet is not None:
                subnets[best.subnet] += 1
        return chosen

    def asked(self, candidate: Candidate, now_s: int) -> None:
        """Note that an operator is being asked."""
        if candidate.peer not in self._replicas and len(self._replicas) >= self._config.replicas_max:
            self._drop_oldest_failure()
        self._replicas[candidate.peer] = Replica(
            candidate.peer, candidate.account, candidate.subnet, Stage.ASKED, now_s
        )

    def pledged(self, peer: PeerId, until_s: int, now_s: int) -> None:
        """Note a pledge."""
        self._advance(peer, Stage.PLEDGED, now_s)
        self._replicas[peer] = replace(self._replicas[peer], until_s=until_s)

    def progressed(self, peer: PeerId, have_bytes: int, now_s: int, *, is_complete: bool) -> None:
        """Note what an operator says of its copy; only growth counts as a sign of life."""
        replica = self._replicas[peer]
        if replica.stage is Stage.AUDITED:
            self._replicas[peer] = replace(replica, checked_s=now_s)
            return
        if is_complete:
            if replica.stage is not Stage.COMPLETE:
                self._advance(peer, Stage.COMPLETE, now_s)
        elif replica.stage is Stage.PLEDGED:
            self._advance(peer, Stage.FETCHING, now_s)
        replica = self._replicas[peer]
        grew = have_bytes > replica.have_bytes
        self._replicas[peer] = replace(
            replica,
            have_bytes=max(have_bytes, replica.have_bytes),
            since_s=now_s if grew else replica.since_s,
            checked_s=now_s,
        )

    def audited(self, peer: PeerId, now_s: int) -> None:
        """Note a passed audit."""
        self._advance(peer, Stage.AUDITED, now_s)
        self._replicas[peer] = replace(self._replicas[peer], checked_s=now_s, have_bytes=self.size_bytes)

    def failed(self, peer: PeerId, reason: str, now_s: int) -> None:
        """Note that an operator does not count any more."""
        replica = self._replicas[peer]
        self._replicas[peer] = replace(
            replica, stage=Stage.FAILED, reason=reason[:200], since_s=now_s, until_s=0
        )

    def expire(self, now_s: int) -> list[PeerId]:
        """Fail whoever missed a deadline or whose pledge has ended; return them."""
        late: list[PeerId] = []
        for replica in list(self._replicas.values()):
            reason = self._lateness(replica, now_s)
            if reason:
                self.failed(replica.peer, reason, now_s)
                late.append(replica.peer)
        return late

    def due_checks(self, now_s: int) -> list[PeerId]:
        """Return operators whose progress should be asked for."""
        stages = {Stage.PLEDGED, Stage.FETCHING}
        return self._due(stages, now_s, self._config.check_every_s)

    def due_audits(self, now_s: int) -> list[PeerId]:
        """Return operators whose complete copy should be audited now."""
        new = [each.peer for each in self._replicas.values() if each.stage is Stage.COMPLETE]
        return new + self._due({Stage.AUDITED}, now_s, self._config.audit_every_s)

    def _due(self, stages: set[Stage], now_s: int, every_s: int) -> list[PeerId]:
        return [
            each.peer
            for each in self._replicas.values()
            if each.stage in stages and now_s - each.checked_s >= every_s
        ]

    def _lateness(self, replica: Replica, now_s: int) -> str:
        if replica.stage is Stage.FAILED:
            return ""
        if replica.stage is Stage.ASKED:
            return "it did not answer" if now_s - replica.since_s > self._config.answer_s else ""
        if replica.until_s <= now_s:
            return "its pledge has ended"
        if replica.stage is Stage.AUDITED:
            return ""
        if now_s - replica.since_s > self._config.progress_s:
            return "it pledged but makes no progress"
        return ""

    def _may_ask(self, candidate: Candidate, now_s: int) -> bool:
        if candidate.account == self._own:
            return False
        fits = (
            candidate.free_bytes >= self.size_bytes
            and candidate.release_bytes_max >= self.size_bytes
            and candidate.pledge_s_max >= self.duration_s
        )
        known = self._replicas.get(candidate.peer)
        if known is None:
            return fits
        is_forgiven = now_s - known.since_s >= self._config.forgive_s
        return fits and known.stage is Stage.FAILED and is_forgiven

    def _rank(self, candidate: Candidate, subnets: Counter[str]) -> tuple[int, float, int, str]:
        crowd = subnets[candidate.subnet] if candidate.subnet is not None else 0
        return (crowd, -candidate.score, -candidate.free_bytes, candidate.peer)

    def _living(self, now_s: int) -> list[Replica]:
        return [
            each
            for each in self._replicas.values()
            if each.stage is not Stage.FAILED and (each.until_s > now_s or each.stage is Stage.ASKED)
        ]

    def _accounts(self, stages: set[Stage], now_s: int) -> set[Account]:
        return {
            each.account for each in self._living(now_s) if each.stage in stages and each.account != self._own
        }

    def _advance(self, peer: PeerId, stage: Stage, now_s: int) -> None:
        replica = self._replicas[peer]
        if stage not in _NEXT[replica.stage]:
            raise ValueError(f"a replica does not go from {replica.stage.value} to {stage.value}")
        self._replicas[peer] = replace(replica, stage=stage, since_s=now_s)

    def _drop_oldest_failure(self) -> None:
        failed = [each for each in self._replicas.values() if each.stage is Stage.FAILED]
        if not failed:
            raise ValueError("a campaign asks no more operators at once than it remembers")
        del self._replicas[min(failed, key=lambda each: each.since_s).peer]
