"""What the owner's account may listen to, asked of the node's chain; and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from marina.errors import LicenceNeededError, MarinaError, NetworkError, NotFoundError, UsageError
from marina.ids import Account, TrackId
from node.chain.service import Chain, ChainService

if TYPE_CHECKING:
    from chain.market.offers import Offer
    from chain.right import ListeningRight

_ANSWER_S = 4.0


class ChainRights:
    """Reads the chain for one account; every call ends within four seconds."""

    def __init__(self, *, chain: ChainService, account: Account) -> None:
        self._chain = chain
        self.account = account

    @property
    def chain_id(self) -> int:
        """EIP-155 id of the configured chain; LicenceNeededError without one."""
        return self._get().profile.chain_id

    @property
    def registry(self) -> Account:
        """Address of the contract that anchors keyboxes; LicenceNeededError without a chain."""
        return self._get().contracts.registry

    @property
    def look_every_s(self) -> float:
        """How often a running session is looked at again."""
        profile = self._chain.profile
        return 15.0 if profile is None else min(15.0, max(1.0, profile.block_s))

    async def of(self, tiers: Sequence[tuple[TrackId, int]]) -> list[ListeningRight]:
        """Return the rights to tiers of tracks, at the newest block.

        Raises:
            LicenceNeededError: no chain is configured, so there is no licence.
            NetworkError: the chain does not answer.
        """
        from chain.right import listening_rights

        chain = self._get()
        with trio.move_on_after(_ANSWER_S):
            return await listening_rights(chain.rpc, chain.contracts, account=self.account, tiers=tiers)
        raise NetworkError("the chain does not answer within 4 s: try again, or see 'marina doctor'")

    async def price(self, track_id: TrackId) -> str | None:
        """Return the lowest price that opens a track, in words; None when nothing is sold or known."""
        from chain.amount import format_amount

        try:
            chain = self._get()
            with trio.move_on_after(_ANSWER_S):
                sold = await _sold(chain, track_id)
                if not sold:
                    return None
                best = min(sold, key=lambda each: (each.period_s != 0, each.price.value))
                return f"{format_amount(best.price.value, best.price.currency)} ({best.span})"
        except MarinaError:
            return None  # the refusal that it belongs to is told without a price
        return None

    def _get(self) -> Chain:
        try:
            return self._chain.get()
        except (NotFoundError, UsageError) as err:
            raise LicenceNeededError(f"this track is sold, and {err}") from err


async def _sold(chain: Chain, track_id: TrackId) -> list[Offer]:
    rights = await chain.offers.rights(track_id)
    if rights is None:
        return []
    found: list[Offer] = []
    if rights.is_active and not rights.is_blocked:
        found += [each for each in await chain.offers.of(track_id) if each.is_sold]
    if not found and any(rights.release):
        found += [each for each in await chain.offers.of(rights.release) if each.is_sold]
    return found
