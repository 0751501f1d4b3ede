"""What an artist offers when a release is published to be sold, and how its keys are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from marina.errors import MarinaError
from marina.ids import Account, account_text
from node.api.errors import BadRequestError
from node.api.fields import Fields
from node.api.sale_fields import read_sale, read_wanted
from node.chain.spending import quote
from node.selling.choosing import Choice, Wanted
from node.selling.desk import Sale
from node.selling.sold import sold_tiers
from node.selling.watch import is_thin
from node.services import Services
from p2p.peerid import short
from p2p.peerkey import peer_of_key
from storage.publish.models import Preview, Published
from storage.publish.paid import PaidRequest


@dataclass(slots=True)
class Offer:
    """A checked offer, before the first byte is encrypted.

    Attributes:
        services: of the node.
        artist: who sells.
        sale: on which terms.
        wanted: who shall keep the keys.
        max_fee: the most that all network fees may be, as people write it.
        chosen: who was chosen, once somebody was.
    """

    services: Services
    artist: Account
    sale: Sale
    wanted: Wanted
    max_fee: str | None
    chosen: list[Choice] = field(default_factory=list)

    @property
    def request(self) -> PaidRequest:
        """What the publisher is told."""
        return self.services.selling.desk.request(self.wanted, self.chosen)

    async def rehearse(self, preview: Preview) -> dict[str, Any]:
        """Return who would keep the keys and what the chain would cost; nothing is kept of it."""
        desk = self.services.selling.desk
        choice = await desk.choose(self.wanted)
        drafts = await desk.rehearse(preview, self.sale, self.artist)
        chain = self.services.chain
        cost = await quote(chain, drafts, self.artist, max_fee=self.max_fee, is_dry=True)
        return {"sale": {**choice_json(choice), "quote": cost}}

    async def result(self, published: Published) -> dict[str, Any]:
        """Return who keeps the keys of what was published."""
        blocks = self.services.releases.block
        tiers = await sold_tiers([track for _, track in published.tracks], blocks)
        choice = self.chosen[0] if self.chosen else None
        return {
            "sale": {
                **choice_json(choice),
                "delegates": sorted(
                    {peer_of_key(holder.delegate) for each in tiers for holder in each.box.delegates}
                ),
                "threshold": min((each.box.k for each in tiers), default=0) or None,
                "of": min((each.box.n for each in tiers), default=0),
                "epoch": max((each.box.epoch for each in tiers), default=0),
                "quote": None,
            }
        }


async def read_offer(services: Services, given: object) -> Offer:
    """Return the offer in a request: prices, splits and holders are looked at before anything is encrypted.

    Raises:
        BadRequestError, UsageError: something is not what it must be, or no chain is configured.
        NetworkError: the chain does not answer.
    """
    if not isinstance(given, dict):
        raise BadRequestError("'sale' must be an object")
    fields = Fields(given)
    chain = services.chain
    chain.get()
    typed = fields.text("account", None, bytes_max=64)
    artist = (chain.wallet.default() if typed is None else chain.wallet.find(typed)).account
    sale = await read_sale(fields, artist, chain)
    max_fee = fields.text("max_fee", None, bytes_max=100)
    return Offer(services, artist, sale, read_wanted(fields), max_fee)


def choice_json(choice: Choice | None) -> dict[str, Any]:
    """Return who keeps the keys, as the API shows it."""
    if choice is None:
        return {"guardians": [], "threshold": None, "delegates": [], "warnings": []}
    return {
        "guardians": [
            {
                "peer": peer_of_key(each.candidate.keys.peer_key),
                "account": account_text(each.candidate.account),
                "bond_units": str(each.candidate.bond),
                "network": each.network,
                "ready": each.problem is None,
                "problem": each.problem,
            }
            for each in choice.guardians
        ],
        "threshold": choice.terms.k or None,
        "delegates": [peer_of_key(each.peer_key) for each in choice.terms.delegates],
        "warnings": list(choice.warnings),
    }


async def keys_json(services: Services, typed: str) -> dict[str, Any] | None:
    """Return how the keys of a release are within reach now, None when it is free or nobody can be asked."""
    target = await services.library.resolve_release_cid((await services.library.release(typed)).cid)
    try:
        tiers = await services.selling.desk.in_force(target)
        quorum = await services.selling.desk.quorum(target)
    except MarinaError as err:
        return {"problem": str(err)}
    if quorum is None:
        return None
    return {
        "epoch": max(each.box.epoch for each in tiers),
        "ready": quorum.ready,
        "needed": quorum.needed,
        "of": quorum.of,
        "delegates_ready": quorum.delegates,
        "is_enough": quorum.is_enough,
        "is_thin": is_thin(quorum),
        "message": quorum.sentence,
        "problems": {short(peer_of_key(key)): why for key, why in quorum.problems.items()},
        "problem": None,
    }
