"""Tracks and releases: their rows, and what the events of TrackRegistry mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from eth_abi import encode
from eth_hash.auto import keccak

from chain.events import Event
from chain.index.rows import Handler, changing, key, making, marking, putting, removing
from chain.index.store import Change
from marina.schema import U8, U16, U32, U64, Bytes20, Bytes32, Size, record

REGISTRATIONS = "registration"
SHARED_WITH = "shared-with"
OWNED = "owned"
TRACKS_OF_RELEASE = "release-track"
SPLITS = "splits"
KEYBOXES = "keybox"
KEYBOX_WRITERS = "keybox-writer"
BINDING_EPOCHS = "binding-epoch"
MODERATION = "moderation"
SPLITS_MAX = 32
FORMER_MAX = 8
_NOBODY = bytes(20)


@record(None)
@dataclass(frozen=True, slots=True)
class SplitPart:
    """One collaborator's part, in basis points."""

    account: Bytes20
    bps: U16


@record("marina/chain/splits/1")
@dataclass(frozen=True, slots=True)
class SplitsRow:
    """How an id's money is shared; kept for ever, since ``settle`` needs the list of its time.

    Attributes:
        id: of the track or release.
        splits_hash: ``keccak256(abi.encode(parts))``.
        parts: in ascending order of the accounts.
        block: where it was set.
    """

    id: Bytes32
    splits_hash: Bytes32
    parts: Annotated[tuple[SplitPart, ...], Size(0, SPLITS_MAX)]
    block: U64


@record("marina/chain/registration/1")
@dataclass(frozen=True, slots=True)
class RegistrationRow:
    """One registered track or release as it is now.

    Attributes:
        id: of the track or release.
        artist: who registered it; part of its id.
        owner: who holds its token.
        release_id: release that a track belongs to; zero for none.
        content_digest: sha256 of the manifest block.
        splits_hash: of the splits in force.
        royalty_bps: ERC-2981 royalty.
        version: of the manifest, from 1.
        is_active: the owner sells it.
        is_blocked: the DAO forbids to sell it.
        block: last block that changed it.
        registered_s: time of its registration.
    """

    id: Bytes32
    artist: Bytes20
    owner: Bytes20
    release_id: Bytes32
    content_digest: Bytes32
    splits_hash: Bytes32
    royalty_bps: U16
    version: U32
    is_active: bool
    is_blocked: bool
    block: U64
    registered_s: U64


@record(None)
@dataclass(frozen=True, slots=True)
class FormerKeybox:
    """A keybox that another has replaced.

    Attributes:
        digest: sha256 of its block.
        epoch: of it.
        replaced_s: block time of that.
    """

    digest: Bytes32
    epoch: U32
    replaced_s: U64


@record("marina/chain/keybox/1")
@dataclass(frozen=True, slots=True)
class KeyboxRow:
    """The anchored keybox of one tier.

    Attributes:
        id: of the track.
        tier: 0 to 2.
        digest: sha256 of the keybox block.
        epoch: grows with each anchoring.
        finality: which blocks guardians take as final.
        block: where it was anchored.
        anchored_s: block time of that.
        former: those before it, the newest first, at most eight.
    """

    id: Bytes32
    tier: U8
    digest: Bytes32
    epoch: U32
    finality: U8
    block: U64
    anchored_s: U64
    former: Annotated[tuple[FormerKeybox, ...], Size(0, FORMER_MAX)]


@record("marina/chain/keybox-writer/1")
@dataclass(frozen=True, slots=True)
class KeyboxWriterRow:
    """An account that an owner named or dismissed as keybox writer.

    The right ends when the token changes hands: whether it holds now is asked of the contract.
    """

    id: Bytes32
    writer: Bytes20
    is_allowed: bool
    block: U64


@record("marina/chain/binding-epoch/1")
@dataclass(frozen=True, slots=True)
class BindingEpochRow:
    """Device bindings of an account with a lower epoch are void."""

    account: Bytes20
    epoch: U64
    block: U64


@record("marina/chain/moderation/1")
@dataclass(frozen=True, slots=True)
class ModerationRow:
    """The moderation list that the DAO adopted last."""

    digest: Bytes32
    block: U64


def splits_hash(parts: Sequence[tuple[bytes, int]]) -> bytes:
    """Return ``keccak256(abi.encode(splits))`` of (account, basis points) pairs."""
    return bytes(keccak(encode(["(address,uint16)[]"], [list(parts)])))


def _registered(event: Event, time_s: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    splits = _splits_row(said["id"], said["splits"], block)
    row = RegistrationRow(
        id=said["id"],
        artist=said["artist"],
        owner=said["artist"],
        release_id=said["releaseId"],
        content_digest=said["contentDigest"],
        splits_hash=splits.splits_hash,
        royalty_bps=said["royaltyBps"],
        version=1,
        is_active=True,
        is_blocked=False,
        block=block,
        registered_s=time_s,
    )
    return [
        putting(key(REGISTRATIONS, row.id), row),
        putting(key(SPLITS, row.id, splits.splits_hash), splits),
        *_shared(splits),
        marking(key(TRACKS_OF_RELEASE, row.release_id, row.id)),
    ]


def _transferred(event: Event, _: int) -> Sequence[Change]:
    said = event.values
    number = said["tokenId"].to_bytes(32)
    changes = [_of(event, number, lambda row: replace(row, owner=said["to"]))]
    if said["from"] != _NOBODY:
        changes.append(removing(key(OWNED, said["from"], number)))
    if said["to"] != _NOBODY:
        changes.append(marking(key(OWNED, said["to"], number)))
    return changes


def _splits_changed(event: Event, _: int) -> Sequence[Change]:
    said = event.values
    row = _splits_row(said["id"], said["splits"], event.log.block)
    return [
        putting(key(SPLITS, row.id, row.splits_hash), row),
        *_shared(row),
        _of(event, row.id, lambda registration: replace(registration, splits_hash=row.splits_hash)),
    ]


def _content_updated(event: Event, _: int) -> Sequence[Change]:
    digest, version = event.values["contentDigest"], event.values["version"]
    return [_of(event, event.values["id"], lambda row: replace(row, content_digest=digest, version=version))]


def _active_changed(event: Event, _: int) -> Sequence[Change]:
    return [_of(event, event.values["id"], lambda row: replace(row, is_active=event.values["active"]))]


def _blocked_changed(event: Event, _: int) -> Sequence[Change]:
    return [_of(event, event.values["id"], lambda row: replace(row, is_blocked=event.values["blocked"]))]


def _royalty_changed(event: Event, _: int) -> Sequence[Change]:
    return [_of(event, event.values["id"], lambda row: replace(row, royalty_bps=event.values["royaltyBps"]))]


def _keybox_anchored(event: Event, time_s: int) -> Sequence[Change]:
    said = event.values

    def make(old: KeyboxRow | None, _: Sequence[object]) -> KeyboxRow:
        before = (FormerKeybox(old.digest, old.epoch, time_s), *old.former) if old else ()
        return KeyboxRow(
            id=said["id"],
            tier=said["tier"],
            digest=said["digest"],
            epoch=said["epoch"],
            finality=said["finality"],
            block=event.log.block,
            anchored_s=time_s,
            former=before[:FORMER_MAX],
        )

    return [making(KeyboxRow, key(KEYBOXES, said["id"], bytes((said["tier"],))), make)]


def _keybox_writer_changed(event: Event, _: int) -> Sequence[Change]:
    said = event.values
    row = KeyboxWriterRow(said["id"], said["writer"], said["allowed"], event.log.block)
    return [putting(key(KEYBOX_WRITERS, row.id, row.writer), row)]


def _binding_epoch_bumped(event: Event, _: int) -> Sequence[Change]:
    row = BindingEpochRow(event.values["account"], event.values["epoch"], event.log.block)
    return [putting(key(BINDING_EPOCHS, row.account), row)]


def _moderation_changed(event: Event, _: int) -> Sequence[Change]:
    return [putting(key(MODERATION), ModerationRow(event.values["digest"], event.log.block))]


def _splits_row(number: bytes, splits: Sequence[tuple[bytes, int]], block: int) -> SplitsRow:
    parts = tuple(SplitPart(account, bps) for account, bps in splits)
    return SplitsRow(number, splits_hash(splits), parts, block)


def _shared(splits: SplitsRow) -> list[Change]:
    """Whoever had a part once may be owed something of that time: the marks stay for ever."""
    return [marking(key(SHARED_WITH, each.account, splits.id)) for each in splits.parts]


def _of(event: Event, number: bytes, change: Callable[[RegistrationRow], RegistrationRow]) -> Change:
    block = event.log.block
    return changing(
        RegistrationRow, key(REGISTRATIONS, number), lambda row: replace(change(row), block=block)
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("TrackRegistry", "Registered"): _registered,
    ("TrackRegistry", "Transfer"): _transferred,
    ("TrackRegistry", "SplitsChanged"): _splits_changed,
    ("TrackRegistry", "ContentUpdated"): _content_updated,
    ("TrackRegistry", "ActiveChanged"): _active_changed,
    ("TrackRegistry", "BlockedChanged"): _blocked_changed,
    ("TrackRegistry", "RoyaltyChanged"): _royalty_changed,
    ("TrackRegistry", "KeyboxAnchored"): _keybox_anchored,
    ("TrackRegistry", "KeyboxWriterChanged"): _keybox_writer_changed,
    ("TrackRegistry", "BindingEpochBumped"): _binding_epoch_bumped,
    ("TrackRegistry", "ModerationListChanged"): _moderation_changed,
}
