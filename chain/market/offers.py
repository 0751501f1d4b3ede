"""What a track or release is sold for, and what an account has bought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from eth_hash.auto import keccak

from chain.amount import Amount
from chain.artifacts import decode_result, encode_call
from chain.errors import RpcError
from marina.errors import MalformedError, NotFoundError, NotPermittedError
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from chain.market.currencies import Currencies
    from chain.reader import ContractReader

STREAM, DOWNLOAD = 1, 2
KINDS = {STREAM: "stream", DOWNLOAD: "download"}
FOR_EVER = 2**64 - 1
_PERPETUAL = 2**32 - 1
_NO_ID = bytes(32)
_TERMS_MAX = 256


@dataclass(frozen=True, slots=True)
class Offer:
    """One term.

    Attributes:
        id: of the track or release.
        term: its number there.
        price: of one period.
        period_s: length of a period, 0 without end.
        kind: 1 stream, 2 download.
        is_sold: whether it can be bought now.
    """

    id: bytes
    term: int
    price: Amount
    period_s: int
    kind: int
    is_sold: bool

    @property
    def span(self) -> str:
        """How long it lasts, in words."""
        if self.period_s == 0:
            return "for ever"
        days, rest = divmod(self.period_s, 86_400)
        if rest == 0:
            return f"{days} day{'s' if days != 1 else ''}"
        return f"{self.period_s} s"


@dataclass(frozen=True, slots=True)
class Rights:
    """What the registry says of an id.

    Attributes:
        id: of the track or release.
        owner: who holds the right.
        splits_hash: of the splits in force.
        release: that a track belongs to, 32 zero bytes for none.
        is_active: whether the owner sells it.
        is_blocked: whether the DAO forbids to sell it.
        version: of the manifest.
        content_digest: sha256 of the manifest.
    """

    id: bytes
    owner: Account
    splits_hash: bytes
    release: bytes
    is_active: bool
    is_blocked: bool
    version: int
    content_digest: bytes


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as the contract has it.

    Attributes:
        licence: its id.
        id: of the track or release.
        licensee: who may hear it.
        term: its number.
        started_s: Unix seconds.
        expires_s: Unix seconds; the largest number without end.
    """

    licence: bytes
    id: bytes
    licensee: Account
    term: int
    started_s: int
    expires_s: int


class Terms(Protocol):
    """What a purchase is made from: the chain itself, or the node's index of it."""

    async def rights(self, thing: bytes) -> Rights | None:
        """Return what is registered under an id, None for nothing."""
        ...

    async def of(self, thing: bytes) -> tuple[Offer, ...]:
        """Return every term of an id, disabled ones too."""
        ...

    async def licence(self, licence: bytes) -> Licence:
        """Return a licence; NotFoundError if there never was one, or it was paid back."""
        ...

    async def time_s(self) -> int:
        """Return the time by which licences end, Unix seconds."""
        ...


def licence_id(thing: bytes, term: int, licensee: Account) -> bytes:
    """Return the contract's name of an account's licence: keccak256(abi.encode(id, term, licensee))."""
    return bytes(keccak(thing + term.to_bytes(32) + bytes(12) + licensee))


class Offers:
    """Reads rights, terms and licences from the chain."""

    def __init__(self, *, reader: ContractReader, currencies: Currencies) -> None:
        self._reader = reader
        self._currencies = currencies

    async def rights(self, thing: bytes) -> Rights | None:
        """Return what is registered under an id, None for nothing."""
        splits_hash, _ = await self._reader.read("TrackRegistry", "saleState", thing)
        if splits_hash == _NO_ID:
            return None
        (
            owner, content, splits_hash, release, _royalty, version, is_active, is_blocked, _since,
        ) = await self._reader.read("TrackRegistry", "record", thing)  # fmt: skip
        return Rights(thing, owner, splits_hash, release, is_active, is_blocked, version, content)

    async def owned(self, thing: bytes, account: Account) -> Rights:
        """Return the rights that an account holds.

        Raises:
            NotFoundError: it is not registered.
            NotPermittedError: somebody else holds them.
        """
        rights = await self.rights(thing)
        if rights is None:
            raise NotFoundError("it is not registered on this chain: 'marina release register' does that")
        if rights.owner != account:
            raise NotPermittedError(f"it belongs to {account_text(rights.owner)}: only that account may")
        return rights

    async def of(self, thing: bytes) -> tuple[Offer, ...]:
        """Return every term of an id, disabled ones too."""
        count = int(await self._reader.read("MusicLicensing", "termCount", thing))
        if not count:
            return ()
        rows = await self._terms(thing, min(count, _TERMS_MAX))
        currencies = {token: await self._currencies.at(token) for token in {row[2] for row in rows}}
        return tuple(
            Offer(thing, number, Amount(price, currencies[token]), period_s, kind, is_sold)
            for number, (price, period_s, token, kind, is_sold) in enumerate(rows)
        )

    async def _terms(self, thing: bytes, count: int) -> list[tuple[Any, ...]]:
        """Return the first terms of an id as the contract has them, asked for all at once."""
        calls = [
            {
                "to": account_text(self._reader.contracts.licensing),
                "data": "0x" + encode_call("MusicLicensing", "term", thing, number).hex(),
            }
            for number in range(count)
        ]
        found: list[tuple[Any, ...]] = []
        for answer in await self._reader.rpc.batch([("eth_call", [call, "latest"]) for call in calls]):
            if isinstance(answer, RpcError):
                raise answer
            try:
                data = bytes.fromhex(answer.removeprefix("0x"))
            except (AttributeError, ValueError) as err:
                raise MalformedError("the chain's endpoint gives an answer that is no bytes") from err
            (row,) = decode_result("MusicLicensing", "term", data, 2)
            found.append(row)
        return found

    async def term(self, thing: bytes, number: int) -> Offer:
        """Return one term.

        Raises:
            RevertedError: there is none with this number.
        """
        price, period_s, token, kind, is_sold = await self._reader.read(
            "MusicLicensing", "term", thing, number
        )
        amount = Amount(int(price), await self._currencies.at(int(token)))
        return Offer(thing, number, amount, int(period_s), int(kind), bool(is_sold))

    async def licence(self, licence: bytes) -> Licence:
        """Return a licence, ended ones too.

        Raises:
            NotFoundError: there never was one, or it was paid back.
        """
        thing, licensee, started_s, duration_s, term, _token = await self._reader.read(
            "MusicLicensing", "licence", licence
        )
        if not any(licensee):
            raise NotFoundError("there is no such licence: see 'marina licence list'")
        expires_s = FOR_EVER if duration_s == _PERPETUAL else started_s + duration_s
        return Licence(licence, thing, licensee, int(term), int(started_s), int(expires_s))

    async def time_s(self) -> int:
        """Return the time of the newest block."""
        return await self._reader.time_s()

    async def licence_for(self, thing: bytes, account: Account, tier: int) -> tuple[bytes, int] | None:
        """Return the live licence that opens a tier for longest, and its end; None for none."""
        licence, _from, to = await self._reader.read(
            "MusicLicensing", "licenceOf", thing, bytes(account), tier
        )
        return None if licence == _NO_ID else (licence, int(to))
