"""Who keeps the keys of a paid release, and the keyboxes made for them, which cannot be made again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from marina.cid import Cid
from marina.ids import TrackId
from marina.schema import U64, Bytes20, Bytes32, Range, Size, decode_record, encode_record, record
from marina.secret import Secret
from storage.content.guarded import KeyHolder, guarded_keybox
from storage.content.keybox import DELEGATES_MAX, GUARDIANS_MAX, MODE_PUBLIC, Keybox, parse_keybox
from storage.content.keys import KeyName
from storage.kv import KeyValueStore, Table

RandomBytes = Callable[[int], bytes]
FIRST_EPOCH = 1
_EPOCHS_MAX = 1000


@record(None)
@dataclass(frozen=True, slots=True)
class _Holder:
    peer_key: Bytes32
    hpke_key: Bytes32


@record("marina/publish-paid/1")
@dataclass(frozen=True, slots=True)
class _Terms:
    chain_id: U64
    registry: Bytes20
    k: Annotated[int, Range(0, GUARDIANS_MAX)]
    guardians: Annotated[tuple[_Holder, ...], Size(0, GUARDIANS_MAX)]
    delegates: Annotated[tuple[_Holder, ...], Size(0, DELEGATES_MAX)]
    not_before: U64


@dataclass(frozen=True, slots=True)
class PaidTerms:
    """Who keeps the keys.

    Attributes:
        chain_id: of the chain that the keyboxes are anchored on.
        registry: address of the TrackRegistry there, 20 bytes.
        k: guardians that give a key together; 0 without guardians.
        guardians: who gets a share.
        delegates: who gets the whole key.
        not_before: Unix second before which nobody releases a key; 0 for at once.
    """

    chain_id: int
    registry: bytes
    k: int
    guardians: tuple[KeyHolder, ...]
    delegates: tuple[KeyHolder, ...] = ()
    not_before: int = 0


@dataclass(frozen=True, slots=True)
class PaidRequest:
    """That a release is to be sold.

    Attributes:
        chain_id: on which chain.
        registry: address of the TrackRegistry there, 20 bytes.
        choose: returns who keeps the keys; awaited once for a release, however often it is published.
    """

    chain_id: int
    registry: bytes
    choose: Callable[[], Awaitable[PaidTerms]]


class PaidJournal:
    """Who was chosen for a release, and its keyboxes, durable before anything names them."""

    def __init__(self, store: KeyValueStore, *, random: RandomBytes) -> None:
        self._terms = Table(store, "publish-paid")
        self._boxes = Table(store, "publish-keybox")
        self._random = random

    async def terms(self, release_key: bytes, request: PaidRequest) -> PaidTerms:
        """Return who keeps a release's keys: chosen once, the same ones after an interruption."""
        found = await self._terms.get(release_key)
        if found is not None:
            return _plain(decode_record(_Terms, found))
        chosen = await request.choose()
        await self._terms.put(release_key, encode_record(_recorded(chosen)))
        return chosen

    async def forget_terms(self, release_key: bytes) -> None:
        """Let other guardians be chosen: after a withdrawal."""
        await self._terms.delete(release_key)

    async def first(self, name: KeyName, key: Secret[bytes], kc: bytes, terms: PaidTerms) -> Keybox:
        """Return the first keybox of a tier: the one that was made already, else a new one."""
        found = await self._boxes.get(_box_key(name.track_id, name.tier, FIRST_EPOCH))
        if found is not None and (box := parse_keybox(found)).kc == kc:
            return box
        return await self.next(name, key, kc, terms, FIRST_EPOCH)

    async def next(
        self, name: KeyName, key: Secret[bytes], kc: bytes, terms: PaidTerms, epoch: int
    ) -> Keybox:
        """Return a keybox of a later epoch: the same key, another polynomial."""
        box = guarded_keybox(
            name,
            key,
            kc,
            chain_id=terms.chain_id,
            registry=terms.registry,
            epoch=epoch,
            k=terms.k,
            guardians=terms.guardians,
            delegates=terms.delegates,
            not_before=terms.not_before,
            random=self._random,
        )
        await self._boxes.put(_box_key(name.track_id, name.tier, epoch), box.to_bytes())
        return box

    async def made(self, track_id: TrackId, tier: int, epoch: int) -> Keybox | None:
        """Return the keybox of an epoch that was made here, None if none was."""
        found = await self._boxes.get(_box_key(track_id, tier, epoch))
        return None if found is None else parse_keybox(found)

    async def copy(self, track_id: TrackId, tier: int, cid: Cid) -> bytes | None:
        """Return the copy of a keybox by its CID, None if it was not made here."""
        for _, block in await self._boxes.scan(track_id + bytes((tier,)), limit=_EPOCHS_MAX):
            if parse_keybox(block).cid == cid:
                return block
        return None


def is_guarded(block: bytes) -> bool:
    """Return whether a keybox is of a paid tier; MalformedError if it is none."""
    return parse_keybox(block).mode != MODE_PUBLIC


def _box_key(track_id: TrackId, tier: int, epoch: int) -> bytes:
    return track_id + bytes((tier,)) + epoch.to_bytes(4)


def _recorded(terms: PaidTerms) -> _Terms:
    return _Terms(
        terms.chain_id,
        terms.registry,
        terms.k,
        tuple(_Holder(each.peer_key, each.hpke_key) for each in terms.guardians),
        tuple(_Holder(each.peer_key, each.hpke_key) for each in terms.delegates),
        terms.not_before,
    )


def _plain(row: _Terms) -> PaidTerms:
    return PaidTerms(
        row.chain_id,
        row.registry,
        row.k,
        tuple(KeyHolder(each.peer_key, each.hpke_key) for each in row.guardians),
        tuple(KeyHolder(each.peer_key, each.hpke_key) for each in row.delegates),
        row.not_before,
    )
