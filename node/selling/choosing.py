"""Chooses who keeps the keys of a release: registered guardians that answer now, and named delegates."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import trio

from marina.clock import Clock
from marina.errors import MalformedError, NetworkError, UsageError
from marina.ids import Account
from node.keys.collector import WORDS, Line
from node.keys.quorum import SPARE
from node.selling.draw import Candidate, Seen, pick, weighted_order
from p2p.peerid import short
from p2p.peerkey import peer_of_key
from p2p.wire.key import Code, Refusal, StatusAnswer, StatusBody, StatusRequest, decode_answer
from p2p.wire.key import encode_status_request as encode_question
from storage.content.guarded import KeyHolder
from storage.content.keybox import DELEGATES_MAX, GUARDIANS_MAX
from storage.identity.binding import decode_binding, verify_binding
from storage.identity.errors import BindingError
from storage.publish.paid import PaidTerms

log = logging.getLogger("marina.node.selling")
ANSWER_S = 3.0
_ASKED_AT_ONCE = 16
_ASKED_MAX = 96
_MISNAMED = "does not name the account that answers for it"
_OTHER_KEY = "has another key than the chain says"
_UNFIT = frozenset({_MISNAMED, _OTHER_KEY})
"""Such a one could never open its share, or is a stranger's device that an account has occupied."""


class Directory(Protocol):
    """Who is registered as a guardian."""

    async def candidates(self) -> list[Candidate]:
        """Return the active ones; NetworkError when the chain does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom the artist asked for.

    Attributes:
        n: guardians.
        k: how many of them give a key together.
        delegates: nodes that get the whole key.
        not_before: Unix second before which nobody releases a key.
    """

    n: int
    k: int
    delegates: tuple[KeyHolder, ...] = ()
    not_before: int = 0

    def check(self) -> None:
        """Refuse numbers that make no keybox; UsageError with what to do."""
        if not 0 <= self.n <= GUARDIANS_MAX:
            raise UsageError(f"a release has 0 to {GUARDIANS_MAX} guardians")
        if self.n and not 1 <= self.k <= self.n:
            raise UsageError(f"the threshold is 1 to {self.n}, the number of guardians")
        if len(self.delegates) > DELEGATES_MAX:
            raise UsageError(f"a release has at most {DELEGATES_MAX} delegates")
        if len({each.peer_key for each in self.delegates}) != len(self.delegates):
            raise UsageError("a delegate is named twice")
        if not self.n and not self.delegates:
            raise UsageError("nobody would keep the keys: give --guardians or --delegate")


@dataclass(frozen=True, slots=True)
class Choice:
    """Who keeps the keys.

    Attributes:
        terms: for the keyboxes.
        guardians: who was chosen, in the order of their shares.
        warnings: sentences for the artist.
    """

    terms: PaidTerms
    guardians: tuple[Seen, ...]
    warnings: tuple[str, ...]


class Chooser:
    """Draws guardians and asks them how they are."""

    def __init__(
        self,
        *,
        directory: Directory,
        line: Line,
        network_of: Callable[[bytes], str | None],
        own_key: bytes,
        clock: Clock,
        rng: Random,
    ) -> None:
        """Take the collaborators.

        Args:
            directory: who is registered.
            line: brings messages to them.
            network_of: returns the network that a connected node is in, by its Ed25519 key.
            own_key: this node's Ed25519 key: it is not asked, since it shall be free to sleep.
            clock: judges bindings.
            rng: draws; unpredictable outside of tests.
        """
        self._directory = directory
        self._line = line
        self._network_of = network_of
        self._own_key = own_key
        self._clock = clock
        self._rng = rng

    async def choose(self, wanted: Wanted, *, chain_id: int, registry: bytes) -> Choice:
        """Return who keeps the keys from now on.

        Raises:
            UsageError: the numbers make no keybox, or too few guardians are registered.
            NetworkError: the chain does not answer, or fewer guardians than the threshold do.
        """
        wanted.check()
        chosen = await self._guardians(wanted, chain_id, registry) if wanted.n else []
        warnings = _warnings(wanted, chosen)
        for each in wanted.delegates:
            problem = await self._delegate_problem(each, chain_id, registry)
            if problem is not None:
                warnings.append(f"the delegate {_short(each.peer_key)} {problem}")
        terms = PaidTerms(
            chain_id,
            registry,
            wanted.k if chosen else 0,
            tuple(each.candidate.keys for each in chosen),
            wanted.delegates,
            wanted.not_before,
        )
        return Choice(terms, tuple(chosen), tuple(warnings))

    async def keys_of(self, peer_key: bytes, *, chain_id: int, registry: bytes) -> KeyHolder | None:
        """Return the keys of a node as it says and signs them, None when it does not answer."""
        found = await self._ask(peer_key, chain_id, registry)
        return KeyHolder(peer_key, found.hpke_key) if isinstance(found, StatusBody) else None

    async def account_of(self, holder: KeyHolder, *, chain_id: int, registry: bytes) -> Account:
        """Return whose node a delegate is, as it says and its account has signed.

        Raises:
            NetworkError: it does not answer, or what it says of itself does not hold.
        """
        found = await self._ask(holder.peer_key, chain_id, registry)
        account = self._account(found, holder.peer_key) if isinstance(found, StatusBody) else None
        if account is not None:
            return account
        problem = found if isinstance(found, str) else _MISNAMED
        raise NetworkError(
            f"the delegate {_short(holder.peer_key)} {problem}: start its node and connect to it, or name "
            "its account"
        )

    async def _guardians(self, wanted: Wanted, chain_id: int, registry: bytes) -> list[Seen]:
        taken = {self._own_key, *(each.peer_key for each in wanted.delegates)}
        found = [each for each in await self._directory.candidates() if each.keys.peer_key not in taken]
        if len(found) < wanted.n:
            raise UsageError(
                f"{len(found)} guardians are registered and {wanted.n} are wanted: give a smaller "
                "--guardians, or name delegates"
            )
        order = weighted_order(found, self._rng)[:_ASKED_MAX]
        seen: list[Seen] = []
        for start in range(0, len(order), _ASKED_AT_ONCE):
            seen += await self._look(order[start : start + _ASKED_AT_ONCE], chain_id, registry)
            if _ready(pick(seen, wanted.n)) == wanted.n:
                break
        chosen = pick([each for each in seen if each.problem not in _UNFIT], wanted.n)
        ready = _ready(chosen)
        if ready < wanted.k:
            raise NetworkError(
                f"{ready} of {len(seen)} guardians answer now and {wanted.k} are needed: nothing was "
                f"published; try again later, or give a smaller --threshold ({_example(seen)})"
            )
        return chosen

    async def _look(self, candidates: Sequence[Candidate], chain_id: int, registry: bytes) -> list[Seen]:
        seen: dict[bytes, Seen] = {}

        async def look(each: Candidate) -> None:
            found = await self._ask(each.keys.peer_key, chain_id, registry)
            problem = self._problem(each, found)
            network = None if problem else self._network_of(each.keys.peer_key)
            seen[each.keys.peer_key] = Seen(each, problem, network)

        async with trio.open_nursery() as nursery:
            for each in candidates:
                nursery.start_soon(look, each)
        found = [seen[each.keys.peer_key] for each in candidates]
        for one in found:
            if one.problem in _UNFIT:
                log.warning("guardian %s %s", _short(one.candidate.keys.peer_key), one.problem)
        return found

    async def _delegate_problem(self, delegate: KeyHolder, chain_id: int, registry: bytes) -> str | None:
        if delegate.peer_key == self._own_key:
            return None  # a delegate that reissues: it does not ask itself
        found = await self._ask(delegate.peer_key, chain_id, registry)
        if not isinstance(found, StatusBody):
            return found
        if found.hpke_key != delegate.hpke_key:
            return "has another key than the one you named: it could not open what is sealed to it"
        return _said(found)

    def _problem(self, candidate: Candidate, found: StatusBody | str) -> str | None:
        """Return why a candidate cannot be trusted with a share, None if it can."""
        if not isinstance(found, StatusBody):
            return found
        if found.hpke_key != candidate.keys.hpke_key:
            return _OTHER_KEY
        if self._account(found, candidate.keys.peer_key) != candidate.account:
            return _MISNAMED
        return _said(found)

    def _account(self, found: StatusBody, peer_key: bytes) -> Account | None:
        """Return whose node it is, None when the account that it names has not signed that."""
        try:
            account = verify_binding(decode_binding(found.binding), now_s=self._clock.now_s(), peer=peer_key)
        except (BindingError, MalformedError):
            return None
        return account if found.account == account else None

    async def _ask(self, peer_key: bytes, chain_id: int, registry: bytes) -> StatusBody | str:
        """Return the signed status of a node, or what is wrong with it."""
        body = StatusRequest(peer_key, secrets.token_bytes(16), chain_id, registry, bytes(32))
        try:
            answer = await self._line.ask(peer_key, encode_question(body, None), timeout_s=ANSWER_S)
            found = decode_answer(answer)
            if isinstance(found, Refusal):
                return WORDS[found.code]
            if not isinstance(found, StatusAnswer):
                return "answered something else"
            found.check(peer_key)
        except NetworkError:
            return "does not answer"
        except MalformedError:
            return "answered something else"
        if found.body.nonce != body.nonce or found.body.peer != peer_key:
            return "answered something else"
        return found.body


def _said(body: StatusBody) -> str | None:
    if not body.code:
        return None
    try:
        return WORDS[Code(body.code)]
    except ValueError:
        return "is not ready"


def _warnings(wanted: Wanted, chosen: Sequence[Seen]) -> list[str]:
    warnings: list[str] = []
    ready = _ready(chosen)
    if chosen and ready < len(chosen):
        warnings.append(
            f"{ready} of the {len(chosen)} guardians answer now; the others got their shares all the same"
        )
    if chosen and ready < wanted.k + SPARE:
        warnings.append(
            f"with {ready} live guardians and a threshold of {wanted.k} a key is soon lost: have at least "
            f"{wanted.k + SPARE}"
        )
    if not wanted.delegates:
        warnings.append(
            "no delegate: if too many guardians vanish and this home is lost too, nobody new can hear what "
            "was sold; name a node of yours with --delegate"
        )
    return warnings


def _ready(chosen: Sequence[Seen]) -> int:
    return sum(each.problem is None for each in chosen)


def _example(seen: Sequence[Seen]) -> str:
    faulty = next((each for each in seen if each.problem is not None), None)
    return "" if faulty is None else f"guardian {_short(faulty.candidate.keys.peer_key)} {faulty.problem}"


def _short(peer_key: bytes) -> str:
    return short(peer_of_key(peer_key))
