"""A purchase, made from what the chain says, or from the index where it may wait for the chain."""

from __future__ import annotations

from dataclasses import dataclass

from chain.draft import Draft
from chain.market.offers import FOR_EVER, Offer, Terms
from marina.errors import NetworkError, NotPermittedError
from marina.ids import Account
from node.chain.service import Chain


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants to buy.

    Attributes:
        thing: id of the track or release.
        title: how people call it.
        term: number of the offer, None for the cheapest.
        kind: only offers of this kind, None for any.
        payer: whose money.
        licensee: who gets the licence.
        periods: how many.
        is_renewal: whether a live licence is extended.
        is_queued: whether it may wait for a chain that does not answer.
    """

    thing: bytes
    title: str
    term: int | None
    kind: int | None
    payer: Account
    licensee: Account
    periods: int
    is_renewal: bool
    is_queued: bool


@dataclass(frozen=True, slots=True)
class Purchase:
    """What it takes.

    Attributes:
        offer: that was chosen.
        drafts: in their order.
        is_offline: the chain did not answer: it is made from the index, and nothing could be tried.
    """

    offer: Offer
    drafts: tuple[Draft, ...]
    is_offline: bool


async def purchase(chain: Chain, order: Order) -> Purchase:
    """Return what a purchase takes; errors as for ``Buying.choose`` and ``Buying.purchase``.

    Raises:
        NetworkError: the chain does not answer, and the order may not wait.
    """
    try:
        return await _purchase(chain, order, None)
    except NetworkError:
        if not order.is_queued:
            raise
    return await _purchase(chain, order, chain.indexed)


async def _purchase(chain: Chain, order: Order, known: Terms | None) -> Purchase:
    offer = await chain.buying.choose(order.thing, order.term, order.kind, known=known)
    if order.term is None and not order.is_renewal and known is None:
        await _check_new(chain, offer, order.licensee)
    drafts = await chain.buying.purchase(
        offer,
        title=order.title,
        payer=order.payer,
        licensee=order.licensee,
        periods=order.periods,
        is_renewal=order.is_renewal,
        is_queued=order.is_queued,
        known=known,
    )
    return Purchase(offer, drafts, known is not None)


async def _check_new(chain: Chain, offer: Offer, licensee: Account) -> None:
    """Refuse what a licence without end opens already, under whichever offer and also through the release."""
    held = await chain.offers.licence_for(offer.id, licensee, offer.kind)
    if held is not None and held[1] == FOR_EVER:
        raise NotPermittedError(
            "a licence with no end already opens it: nothing to buy; name an offer with --term to buy it all "
            "the same"
        )
