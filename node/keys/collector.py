"""Asks delegates and guardians side by side until the key is whole, whoever of them is dead, slow or lying.

Delegates and k + 1 guardians first; whoever fails is replaced at once, and after 300 ms all are asked.
Each gets 3 s a try and two more tries. What fits its commitment counts; who signs anything else is named
and the proof kept. Source: design, security §1.7 "Buyer checks" and §1.8 "Key".
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median_low
from typing import Protocol

import trio

from marina.clock import Clock
from marina.errors import MalformedError, NetworkError, NotPermittedError
from marina.secret import Secret
from node.keys.asking import DELEGATE_X, Asked, Asker, BadAnswer, Holder, Released
from node.keys.evidence import Evidence
from node.keys.fraud import fraud_of
from p2p.wire.key import Code, Refusal
from storage.content.guarded import FraudError, join_key
from storage.content.keybox import Keybox
from storage.content.keys import KeyName

log = logging.getLogger("marina.node.keys")
HURRY_S = 0.3
"""After so long without enough answers everybody is asked."""
ANSWER_S = 3.0
TRIES_MAX = 3
_CLOCK_OFF_S_MAX = 86_400
"""A guardian whose clock is further away is not followed there."""
PATIENCE_S = 12.0
"""All in all; a licence that is not final yet is waited for no longer, and tried again later."""
_BACKOFF_S = (0.15, 0.6)
_BLOCK_POLL_S = 1.0
_BEHIND_S = 3.0
"""A guardian's block may be a second older than ours: what it does not see yet it sees soon."""
_BEHIND_POLL_S = 0.3
_BEHIND = frozenset({Code.NO_LICENCE, Code.KEYBOX_MISMATCH})
_AGAIN = frozenset({Code.CLOCK, Code.RATE, Code.CHAIN_UNAVAILABLE, Code.NOT_FINAL}) | _BEHIND
"""Refusals that may be different a moment later: the guardian's block is older than ours, or it is busy."""
WORDS = {
    Code.MALFORMED: "does not understand the request",
    Code.UNSUPPORTED: "speaks another version or chain",
    Code.CLOCK: "says that the clocks differ",
    Code.WRONG_PEER: "says that the request is another's",
    Code.WRONG_AUDIENCE: "says that the request is for another",
    Code.SIGNATURE: "does not accept the signature",
    Code.BINDING: "does not accept this device's binding",
    Code.NO_LICENCE: "does not see the licence",
    Code.NOT_FINAL: "waits until the purchase is final",
    Code.KEYBOX_MISMATCH: "knows another keybox",
    Code.NOT_MY_SHARE: "cannot open its share",
    Code.RATE: "is busy",
    Code.DEVICE_CAP: "has served this licence on six devices",
    Code.CHAIN_UNAVAILABLE: "does not reach its chain",
    Code.TRACK_BLOCKED: "says that the DAO has blocked the track",
}


class Line(Protocol):
    """Brings messages to holders of keys; ``node.keys.finding.HolderLine`` is one."""

    def is_near(self, peer_key: bytes) -> bool:
        """Return whether it is connected."""
        ...

    async def ask(self, peer_key: bytes, message: bytes, *, timeout_s: float) -> bytes:
        """Return a holder's answer.

        Raises:
            NetworkError, MalformedError: there was none.
        """
        ...


class TooFewAnswersError(NetworkError):
    """Too few guardians released their shares."""

    code = "key_quorum"


@dataclass(frozen=True, slots=True)
class Collected:
    """A key that is whole.

    Attributes:
        key: 32 bytes, checked against its commitment.
        holders: Ed25519 keys of those whose answers made it.
        block: the newest block that one of them read.
        faulty: Ed25519 keys of those that answered with something wrong.
        clock_off_s: how far this clock is behind theirs, 0 if they did not complain.
    """

    key: Secret[bytes]
    holders: tuple[bytes, ...]
    block: int
    faulty: tuple[bytes, ...]
    clock_off_s: int


class Collector:
    """Gets released keys."""

    def __init__(self, *, line: Line, asker: Asker, evidence: Evidence, clock: Clock, rng: Random) -> None:
        self._line = line
        self._asker = asker
        self._evidence = evidence
        self._clock = clock
        self._rng = rng

    async def collect(
        self, box: Keybox, name: KeyName, *, licence_block: int, patience_s: float = PATIENCE_S
    ) -> Collected:
        """Return the key of a keybox that guardians or a delegate release.

        Args:
            box: the anchored one, of mode 1 or 2.
            name: whose key.
            licence_block: newest block at which the licence was seen.
            patience_s: for all of it.

        Raises:
            TooFewAnswersError: too few released it; the sentence says how many of how many, and why.
            NotPermittedError: they agree that this device or track may not have it.
            FraudError: shares that fit their commitments do not make the committed key.
            VaultLockedError: this device has no binding.
        """
        work = _Work(self._line, self._asker, self._clock, box, name, licence_block)
        with trio.move_on_after(patience_s):
            await work.run(self._order(box))
        for holder, (bad, asked, answer) in work.bad.items():
            log.warning("guardian %s: %s", holder.peer_key.hex(), bad.why)
            await self._evidence.keep(
                holder.peer_key, name.track_id, name.tier, bad.why,
                request=asked.message, answer=answer, eph_key=asked.eph_key, is_signed=bad.is_signed,
            )  # fmt: skip
        if work.fraud is not None:
            await self._evidence.keep_fraud(fraud_of(box, work.chosen, self._clock.now_s()))
            raise work.fraud
        if work.key is None:
            raise work.failure()
        return work.collected(work.key)

    def _order(self, box: Keybox) -> list[Holder]:
        """Return delegates, then guardians at random, the connected ones and this node first."""
        guardians = [Holder(each.guardian, each.x) for each in box.shares]
        self._rng.shuffle(guardians)
        guardians.sort(key=lambda each: not self._line.is_near(each.peer_key))
        delegates = [Holder(each.delegate, DELEGATE_X) for each in box.delegates]
        return [*delegates, *guardians]


class _Work:
    """One collection under way."""

    def __init__(
        self, line: Line, asker: Asker, clock: Clock, box: Keybox, name: KeyName, licence_block: int
    ) -> None:
        self._line = line
        self._asker = asker
        self._binding = asker.binding()
        self._clock = clock
        self._box = box
        self._box_bytes = box.to_bytes()
        self._name = name
        self._licence_block = licence_block
        self._behind_until_s = trio.current_time() + _BEHIND_S
        self._waiting: list[Holder] = []
        self._running = 0
        self._their_times_s: dict[Holder, int] = {}
        self._shares: dict[int, Released] = {}
        self._of: dict[int, Holder] = {}
        self._problems: dict[Holder, str] = {}
        self._codes: dict[Holder, Code] = {}
        self._whole_of: Holder | None = None
        self._block = 0
        self._moved = trio.Event()
        self._scope = trio.CancelScope()
        self.key: Secret[bytes] | None = None
        self.fraud: FraudError | None = None
        self.bad: dict[Holder, tuple[BadAnswer, Asked, bytes]] = {}

    async def run(self, holders: Sequence[Holder]) -> None:
        """Ask until the key is whole or nobody is left."""
        self._waiting = list(holders)
        first = len(self._box.delegates) + (self._box.k + 1 if self._box.shares else 0)
        hurry_s = trio.current_time() + HURRY_S
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._start(nursery, first)
                while self._running:
                    moved = self._moved = trio.Event()
                    with trio.move_on_at(hurry_s if self._waiting else float("inf")) as hurry:
                        await moved.wait()
                    failed = len(self._problems)
                    self._start(nursery, len(self._waiting) if hurry.cancelled_caught else 0)
                    if failed and self._waiting:
                        self._start(nursery, max(0, first - self._running - len(self._shares)))

    def _start(self, nursery: trio.Nursery, count: int) -> None:
        for holder in self._waiting[:count]:
            self._running += 1
            nursery.start_soon(self._ask, holder)
        del self._waiting[:count]

    async def _ask(self, holder: Holder) -> None:
        try:
            await self._persist(holder)
        finally:
            self._running -= 1
            self._moved.set()

    async def _persist(self, holder: Holder) -> None:
        """Ask one holder until it releases, refuses for good, lies, or was asked often enough."""
        tries = 0
        while tries < TRIES_MAX:
            off_s = self._their_times_s.get(holder, 0)
            asked = Asked(
                self._asker, self._binding, self._box, self._box_bytes, holder,
                time_s=self._clock.now_s() + off_s, licence_block=self._licence_block,
            )  # fmt: skip
            try:
                answer = await self._line.ask(holder.peer_key, asked.message, timeout_s=ANSWER_S)
            except (NetworkError, MalformedError) as err:
                self._problems[holder] = f"did not answer ({err})"
                tries += 1
                await trio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S)) - 1])
                continue
            found = asked.read(answer, self._name)
            if isinstance(found, Released):
                self._take(holder, found)
                return
            if isinstance(found, BadAnswer):
                self.bad[holder] = (found, asked, answer)
                self._problems[holder] = "answered with something wrong"
                return
            pause_s = self._refused(holder, found, tries)
            if pause_s is None:
                return
            is_behind = found.code in _BEHIND and trio.current_time() < self._behind_until_s
            tries += not (is_behind or found.code is Code.NOT_FINAL)
            await trio.sleep(pause_s)

    def _refused(self, holder: Holder, refusal: Refusal, tries: int) -> float | None:
        """Note a refusal; return after how long to ask again, None for never."""
        code = refusal.code
        self._codes[holder] = code
        self._problems[holder] = WORDS[code]
        if code not in _AGAIN:
            return None
        self._moved.set()
        if code is Code.CLOCK:
            off_s = refusal.guardian_time - self._clock.now_s()
            if abs(off_s) > _CLOCK_OFF_S_MAX:
                self._problems[holder] = "has a clock that cannot be right"
                return None
            self._their_times_s[holder] = off_s  # its own request is signed for its own clock
            return 0.0
        if code is Code.NOT_FINAL:
            return max(_BLOCK_POLL_S, float(refusal.retry_after_s))
        if code in _BEHIND:
            return max(_BEHIND_POLL_S, float(refusal.retry_after_s))
        return max(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)], float(refusal.retry_after_s))

    @property
    def _clock_off_s(self) -> int:
        """How far this clock is behind those of the holders that complained, by the median of them."""
        return median_low(self._their_times_s.values()) if self._their_times_s else 0

    def _take(self, holder: Holder, found: Released) -> None:
        self._problems.pop(holder, None)
        self._block = max(self._block, found.block)
        if holder.x == DELEGATE_X:
            self._whole_of = holder
            self.key = found.secret
        else:
            self._shares[holder.x] = found
            self._of[holder.x] = holder
            self._join()
        if self.key is not None or self.fraud is not None:
            self._scope.cancel()

    def _join(self) -> None:
        if len(self._shares) < self._box.k:
            return
        try:
            self.key = join_key(self._box, self._name, self.chosen)
        except FraudError as err:
            self.fraud = err

    @property
    def chosen(self) -> dict[int, Secret[bytes]]:
        """The shares that make the key, by x: the first that came."""
        return {x: each.secret for x, each in list(self._shares.items())[: self._box.k]}

    def collected(self, key: Secret[bytes]) -> Collected:
        """Return the result."""
        chosen = [self._of[x] for x in list(self._shares)[: self._box.k]]
        holders = tuple(each.peer_key for each in ([self._whole_of] if self._whole_of else chosen))
        if self._clock_off_s:
            log.warning("this machine's clock is %d s off by what guardians say: set it", -self._clock_off_s)
        faulty = tuple(each.peer_key for each in self.bad)
        return Collected(key, holders, self._block, faulty, self._clock_off_s)

    def failure(self) -> NetworkError | NotPermittedError:
        """Return why there is no key."""
        box = self._box
        final = Counter(self._codes[each] for each in self._problems if each in self._codes)
        reachable = box.n - sum(final[code] for code in (Code.DEVICE_CAP, Code.BINDING, Code.TRACK_BLOCKED))
        if final and reachable < max(1, box.k):
            code = final.most_common(1)[0][0]
            if code is Code.DEVICE_CAP:
                return NotPermittedError(
                    "this licence was used on six devices within 30 days: play it on one of those, or wait"
                )
            if code is Code.TRACK_BLOCKED:
                return NotPermittedError("the DAO has blocked this track: guardians release no key for it")
            if code is Code.BINDING:
                return NotPermittedError(
                    "guardians do not accept this device's binding: unlock the vault with 'marina key unlock'"
                )
        reasons = Counter(self._problems.values())
        why = "; ".join(f"{count} {text}" for text, count in reasons.most_common(4))
        have, whole = len(self._shares), "" if not box.delegates else ", or one delegate"
        return TooFewAnswersError(
            f"{have} of {box.n} guardians released their shares and {box.k} are needed{whole}"
            f"{f' ({why})' if why else ''}: the licence stays yours, try again later"
        )
