"""Why a track plays: who sent it, which licence opens it, who released its key, what was paid to whom.

Every sum is made from the entries that are shown with it: bytes from the ledger of what peers sent,
payments from the chain's index, shares from the splits that divide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from marina.cid import cid_text
from marina.errors import MarinaError, NotPermittedError
from marina.ids import Account, account_text, track_text
from marina.schema import encode_record
from node.chain.service import Chain, ChainService
from node.fetch_ledger import FetchLedger
from node.keys.cache import ReleasedKey
from node.keys.evidence import Evidence
from node.keys.keyring import Keyring
from node.library import Library, Target
from node.naming import TIERS
from p2p.peerkey import peer_of_key
from storage.blocks.protocol import BlockStore
from storage.content.keybox import parse_keybox
from storage.content.track import Rendition, TrackManifest

if TYPE_CHECKING:
    from chain.amount import Currency
    from chain.index.licensing import SaleRow

UNDIVIDED = "undivided"
"""What rounding leaves; the contract divides it with what comes in later."""
_BPS = 10_000
_SALES_MAX = 2_000
_FOR_EVER = 2**64 - 1


class Why:
    """Explains tracks."""

    def __init__(
        self,
        *,
        account: Account,
        library: Library,
        blocks: BlockStore,
        ledger: FetchLedger,
        keyring: Keyring,
        evidence: Evidence,
        chain: ChainService,
    ) -> None:
        self._account = account
        self._library = library
        self._blocks = blocks
        self._ledger = ledger
        self._keyring = keyring
        self._evidence = evidence
        self._chain = chain

    async def of(self, typed: str) -> dict[str, Any]:
        """Return everything about a track, or the first of a release, JSON-ready.

        Raises:
            NotFoundError: there is no such track.
            VaultLockedError: the vault is locked: all of this is private.
        """
        target = await self._library.resolve(typed)
        track = target.meant[0]
        await self._ledger.flush()
        renditions = [await self._rendition(each) for each in track.renditions]
        keys = [await self._key(each) for each in track.renditions]
        money = await self._money(target, track)
        return {
            "id": track_text(track.track_id),
            "title": track.title,
            "artist": track.artist,
            "terms": track.terms,
            "mine": track.account == self._account,
            "bytes": sum(each["bytes"] for each in renditions),
            "renditions": renditions,
            "keys": [each for each in keys if each is not None],
            "faults": await self._faults(track),
            "frauds": await self._frauds(track),
            **money,
        }

    async def _rendition(self, each: Rendition) -> dict[str, Any]:
        entries = await self._ledger.of(each.layout.root)
        return {
            "tier": TIERS.get(each.tier, str(each.tier)),
            "root": cid_text(each.layout.root),
            "segments": each.layout.plan.count,
            "here": len(await self._blocks.have(each.layout.root)),
            "bytes": sum(entry.size_bytes for entry in entries),
            "segments_fetched": sum(entry.segments for entry in entries),
            "peers": [
                {
                    "peer": entry.peer or None,
                    "bytes": entry.size_bytes,
                    "segments": entry.segments,
                    "last_s": entry.last_s,
                }
                for entry in entries
            ],
        }

    async def _key(self, each: Rendition) -> dict[str, Any] | None:
        found: ReleasedKey | None = await self._keyring.released(each)
        if found is None:
            return None
        return {
            "tier": TIERS.get(each.tier, str(each.tier)),
            "licence": "0x" + found.licence.hex(),
            "released_s": found.released_s,
            "block": found.block,
            "epoch": found.epoch,
            "lease_until_s": found.lease_until_s,
            "guardians": [peer_of_key(each_key) for each_key in found.holders],
        }

    async def _faults(self, track: TrackManifest) -> list[dict[str, Any]]:
        return [
            {
                "guardian": peer_of_key(each.holder),
                "tier": TIERS.get(each.tier, str(each.tier)),
                "why": each.why,
                "proven": each.is_signed,
                "seen_s": each.seen_s,
            }
            for each in await self._evidence.all()
            if each.track_id == track.track_id
        ]

    async def _frauds(self, track: TrackManifest) -> list[dict[str, Any]]:
        """Return proofs that keyboxes of the track are false, for others to check."""
        found = []
        for proof in await self._evidence.frauds():
            box = parse_keybox(proof.keybox)
            if box.track_id == track.track_id:
                found.append(
                    {
                        "tier": TIERS.get(box.tier, str(box.tier)),
                        "seen_s": proof.seen_s,
                        "digest": "0x" + proof.digest.hex(),
                        "proof": encode_record(proof).hex(),
                    }
                )
        return found

    async def _money(self, target: Target, track: TrackManifest) -> dict[str, Any]:
        """Return licences and payments of this account for the track or its release."""
        nothing: dict[str, Any] = {"licences": [], "payments": [], "paid": [], "splits": []}
        try:
            chain = self._chain.get()
        except (MarinaError, NotPermittedError):
            return nothing
        await chain.try_catch_up()
        ids = (bytes(track.track_id), bytes(target.signed.release.release_id))
        payments: list[dict[str, Any]] = []
        totals: dict[tuple[str, str], int] = {}
        currencies: dict[str, Currency] = {}
        for number in ids:
            for sale in await self._sales(chain, number):
                currency = await chain.currencies.of(Account(sale.token))
                currencies[currency.symbol] = currency
                payments.append(await payment_facts(chain, number, sale, currency, totals))
        return {
            "licences": [each for number in ids for each in await self._licences(chain, number)],
            "payments": payments,
            "paid": _sums(currencies, {(s, ""): u for s, u in _paid(payments).items()}),
            "splits": _sums(currencies, totals),
        }

    async def _sales(self, chain: Chain, number: bytes) -> list[SaleRow]:
        found: list[SaleRow] = []
        cursor: str | None = None
        seen = 0
        while seen < _SALES_MAX:
            page = await chain.tables.sales(number, cursor=cursor, limit=200)
            found += [each for each in page.rows if self._account in (each.licensee, each.payer)]
            seen += len(page.rows)
            cursor = page.cursor
            if cursor is None:
                break
        return found

    async def _licences(self, chain: Chain, number: bytes) -> list[dict[str, Any]]:
        page = await chain.tables.licences_of(self._account, limit=200)
        return [
            {
                "licence": "0x" + row.licence_id.hex(),
                "id": "0x" + row.id.hex(),
                "started_s": row.started_s,
                "expires_s": None if row.expires_at_s == _FOR_EVER else row.expires_at_s,
                "refunded": row.is_revoked,
            }
            for row in page.rows
            if row.id == number
        ]


async def payment_facts(
    chain: Chain, number: bytes, sale: SaleRow, currency: Currency, totals: dict[tuple[str, str], int]
) -> dict[str, Any]:
    """Return a payment and who gets how much of it; add the shares to the totals."""
    from chain.amount import format_amount

    paid, fee = int.from_bytes(sale.paid), int.from_bytes(sale.fee)
    splits = await chain.tables.splits(number, sale.splits_hash)
    shares: list[tuple[str, int]] = [("dao", fee)] if fee else []
    shares += [
        (account_text(Account(part.account)), (paid - fee) * part.bps // _BPS)
        for part in (splits.parts if splits else ())
    ]
    if rest := paid - sum(amount for _, amount in shares):
        shares.append((UNDIVIDED, rest))
    for name, amount in shares:
        totals[currency.symbol, name] = totals.get((currency.symbol, name), 0) + amount
    return {
        "transaction": "0x" + sale.transaction.hex(),
        "block": sale.block,
        "confirmations": chain.indexer.confirmations(sale.block),
        "sold_s": sale.sold_s,
        "payer": account_text(Account(sale.payer)),
        "amount": format_amount(paid, currency),
        "units": str(paid),
        "symbol": currency.symbol,
        "shares": [
            {"to": name, "amount": format_amount(amount, currency), "units": str(amount)}
            for name, amount in shares
        ],
    }


def _paid(payments: Sequence[dict[str, Any]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in payments:
        sums[each["symbol"]] = sums.get(each["symbol"], 0) + int(each["units"])
    return sums


def _sums(currencies: dict[str, Currency], totals: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    from chain.amount import format_amount

    return [
        {
            **({"to": name} if name else {}),
            "amount": format_amount(units, currencies[symbol]),
            "units": str(units),
            "symbol": symbol,
        }
        for (symbol, name), units in sorted(totals.items())
    ]
