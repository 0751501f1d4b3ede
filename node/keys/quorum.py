"""Whether enough guardians of a keybox would release it now: asked before money moves.

A status message is signed and carries no share; it says whether the guardian has its chain and could open
its share of this keybox. See docs/protocol/key-release.md.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

import trio

from marina.errors import MalformedError, NetworkError
from node.keys.asking import DELEGATE_X, Holder
from node.keys.collector import WORDS, Line
from p2p.wire.key import Code, Refusal, StatusAnswer, StatusRequest, decode_answer, encode_status_request
from storage.content.keybox import Keybox

log = logging.getLogger("marina.node.keys")
ANSWER_S = 3.0
SPARE = 2
"""With fewer live guardians than k and so many more, a key is soon lost."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of those who hold a key would release it now.

    Attributes:
        ready: guardians that said so.
        needed: how many it takes.
        of: guardians in all.
        delegates: delegates that are ready.
        problems: what is with each of the others, by Ed25519 key.
    """

    ready: int
    needed: int
    of: int
    delegates: int
    problems: dict[bytes, str]

    @property
    def is_enough(self) -> bool:
        """Whether a key would be released now."""
        return self.delegates > 0 or (self.of > 0 and self.ready >= self.needed)

    @property
    def is_thin(self) -> bool:
        """Whether few more failures would leave the key out of reach."""
        return not self.delegates and self.ready < self.needed + SPARE

    @property
    def sentence(self) -> str:
        """It in words."""
        words = f"{self.ready} of {self.of} guardians are ready and {self.needed} are needed"
        return words + (f", {self.delegates} delegates are ready" if self.delegates else "")


class QuorumCheck:
    """Asks guardians and delegates how they are."""

    def __init__(self, *, line: Line) -> None:
        self._line = line

    async def ask(self, box: Keybox, *, answer_s: float = ANSWER_S, is_thorough: bool = True) -> Quorum:
        """Return who of a keybox's holders is ready.

        Args:
            box: the anchored one.
            answer_s: for each.
            is_thorough: wait for all of them; otherwise only until it is enough.
        """
        ready: list[Holder] = []
        problems: dict[bytes, str] = {}
        holders = [Holder(each.delegate, DELEGATE_X) for each in box.delegates]
        holders += [Holder(each.guardian, each.x) for each in box.shares]
        data = box.to_bytes()

        def quorum() -> Quorum:
            guardians = sum(each.x != DELEGATE_X for each in ready)
            return Quorum(guardians, box.k, box.n, len(ready) - guardians, problems)

        async def ask(holder: Holder, scope: trio.CancelScope) -> None:
            problem = await self._problem(box, data, holder, answer_s)
            if problem is None:
                ready.append(holder)
                if not is_thorough and quorum().is_enough:
                    scope.cancel()
            else:
                problems[holder.peer_key] = problem

        async with trio.open_nursery() as nursery:
            for holder in holders:
                nursery.start_soon(ask, holder, nursery.cancel_scope)
        return quorum()

    async def _problem(self, box: Keybox, data: bytes, holder: Holder, answer_s: float) -> str | None:
        """Return why a holder would not release its share, None if it would."""
        body = StatusRequest(
            aud=holder.peer_key,
            nonce=secrets.token_bytes(16),
            chain_id=box.chain_id,
            registry=box.registry,
            keybox_digest=box.cid[-32:],
        )
        try:
            answer = await self._line.ask(
                holder.peer_key, encode_status_request(body, data), timeout_s=answer_s
            )
            found = decode_answer(answer)
            if isinstance(found, Refusal):
                return WORDS[found.code]
            if not isinstance(found, StatusAnswer):
                return "answered something else"
            found.check(holder.peer_key)
        except NetworkError:
            return "does not answer"
        except MalformedError:
            return "answered something else"
        if found.body.nonce != body.nonce or found.body.peer != holder.peer_key:
            return "answered something else"
        return None if found.body.code == 0 else _words(found.body.code)


def _words(code: int) -> str:
    try:
        return WORDS[Code(code)]
    except ValueError:
        return "is not ready"
