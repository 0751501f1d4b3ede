"""Keybox: who can open one tier of one track, as a public raw block whose digest can be anchored.

Mode 0 carries the key itself (free tracks: same path, no secret); mode 1 carries Shamir shares
sealed to guardians and the key sealed to delegates; mode 2 only delegates. Everything in it is
public. ::

    E["marina/kb/1", chain_id, registry(20), track_id(32), tier, epoch, mode, k, n, kc(32), not_before,
      [[x, guardian_ed25519(32), share_commit(32), envelope] * n],
      [[delegate_ed25519(32), envelope] * d]]            and K(32) appended in mode 0

Source: design, security §1.4 and architecture §13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from marina.cid import RAW, Cid, cid_of
from marina.codec import decode, encode
from marina.errors import DamagedError, LicenceNeededError, MalformedError
from marina.ids import TrackId
from marina.schema import U8, U32, U64, Bytes20, Bytes32, Range, Size, from_value, record, to_value
from marina.secret import Secret
from storage.content.keys import KeyName, check_commitment

MODE_PUBLIC: Final = 0
MODE_GUARDIANS: Final = 1
MODE_DELEGATES: Final = 2
TAG: Final = "marina/kb/1"
GUARDIANS_MAX = 32
DELEGATES_MAX = 3
ENVELOPE_BYTES_MAX = 2048
"""Room for the hybrid ML-KEM envelope (about 1.2 KiB) and no more."""
KEYBOX_BYTES_MAX = 15 * 1024
"""A key request, which carries the keybox, must fit a frame of 16 KiB."""


@record(None)
@dataclass(frozen=True, slots=True)
class GuardianShare:
    """One guardian's sealed share.

    Attributes:
        x: the share's coordinate, from 1.
        guardian: the guardian's Ed25519 key.
        share_commit: sha256 commitment to the share, so that a wrong one names its guardian.
        envelope: HPKE ciphertext of the share.
    """

    x: Annotated[int, Range(1, GUARDIANS_MAX)]
    guardian: Bytes32
    share_commit: Bytes32
    envelope: Annotated[bytes, Size(1, ENVELOPE_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class DelegateKey:
    """The whole key, sealed to one delegate."""

    delegate: Bytes32
    envelope: Annotated[bytes, Size(1, ENVELOPE_BYTES_MAX)]


@record("marina/kb/1")
@dataclass(frozen=True, slots=True)
class _Body:
    chain_id: U64
    registry: Bytes20
    track_id: Bytes32
    tier: U8
    epoch: U32
    mode: Annotated[int, Range(MODE_PUBLIC, MODE_DELEGATES)]
    k: Annotated[int, Range(0, GUARDIANS_MAX)]
    n: Annotated[int, Range(0, GUARDIANS_MAX)]
    kc: Bytes32
    not_before: U64
    shares: Annotated[tuple[GuardianShare, ...], Size(0, GUARDIANS_MAX)]
    delegates: Annotated[tuple[DelegateKey, ...], Size(0, DELEGATES_MAX)]


@dataclass(frozen=True, slots=True)
class Keybox:
    """A checked keybox; the fields are those of the format, ``key`` only in mode 0."""

    chain_id: int
    registry: bytes
    track_id: TrackId
    tier: int
    epoch: int
    mode: int
    k: int
    n: int
    kc: bytes
    not_before: int
    shares: tuple[GuardianShare, ...] = ()
    delegates: tuple[DelegateKey, ...] = ()
    key: Secret[bytes] | None = None

    def __post_init__(self) -> None:
        _check_mode(self)

    def to_bytes(self) -> bytes:
        """Return the keybox's block."""
        body = _Body(
            self.chain_id, self.registry, self.track_id, self.tier, self.epoch, self.mode, self.k, self.n,
            self.kc, self.not_before, self.shares, self.delegates,
        )  # fmt: skip
        values = to_value(body)
        if not isinstance(values, list):
            raise TypeError("a keybox is an array")
        return encode([*values, self.key.reveal()] if self.key else values)

    @property
    def cid(self) -> Cid:
        """CID of the block; its digest is what a chain anchors."""
        return cid_of(self.to_bytes(), RAW)

    def open_public(self, name: KeyName) -> Secret[bytes]:
        """Return the key of a free tier, checked against its commitment.

        Raises:
            LicenceNeededError: the keybox is not public.
            DamagedError: it is of another track or tier, or its key does not fit.
        """
        if (self.track_id, self.tier) != (name.track_id, name.tier):
            raise DamagedError("the keybox belongs to another track or tier")
        if self.key is None:
            raise LicenceNeededError("this track is not free: it opens with a licence")
        check_commitment(self.key, name, self.kc)
        return self.key


def public_keybox(name: KeyName, key: Secret[bytes], kc: bytes) -> Keybox:
    """Return the keybox of a free tier, with the key in it."""
    return Keybox(0, bytes(20), name.track_id, name.tier, 0, MODE_PUBLIC, 0, 0, kc, 0, key=key)


def parse_keybox(data: bytes) -> Keybox:
    """Return the keybox in a block; MalformedError for anything else."""
    values = decode(data, limit_bytes=KEYBOX_BYTES_MAX)
    if not isinstance(values, list) or len(values) not in (13, 14):
        raise MalformedError("not a keybox")
    body = from_value(_Body, values[:13])
    key: Secret[bytes] | None = None
    if len(values) == 14:
        appended = values[13]
        if not isinstance(appended, bytes) or len(appended) != 32:
            raise MalformedError("a public keybox ends with a 32-byte key")
        key = Secret(appended)
    return Keybox(
        body.chain_id, body.registry, TrackId(body.track_id), body.tier, body.epoch, body.mode, body.k,
        body.n, body.kc, body.not_before, body.shares, body.delegates, key,
    )  # fmt: skip


def _check_mode(box: Keybox) -> None:
    """Refuse combinations that have no meaning; each mode has exactly one shape."""
    xs = [share.x for share in box.shares]
    if len(set(xs)) != len(xs) or len({share.guardian for share in box.shares}) != len(xs):
        raise MalformedError("a keybox names each guardian and each share once")
    if box.mode == MODE_PUBLIC:
        fits = (
            box.key is not None
            and not (box.shares or box.delegates or box.k or box.n or box.chain_id)
            and box.registry == bytes(20)
        )
    elif box.mode == MODE_GUARDIANS:
        fits = box.key is None and 1 <= box.k <= box.n == len(box.shares)
    else:
        fits = box.key is None and not box.shares and box.k == box.n == 0 and bool(box.delegates)
    if not fits:
        raise MalformedError(f"a keybox of mode {box.mode} has other fields than its mode asks for")
