"""Names of things: tracks, releases, accounts; their derivation, text forms and short forms."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import NewType, TypeVar

from eth_hash.auto import keccak

from marina.errors import MalformedError, NotFoundError, UsageError

TrackId = NewType("TrackId", bytes)
ReleaseId = NewType("ReleaseId", bytes)
Account = NewType("Account", bytes)
"""A 20-byte EVM address."""
PeerId = NewType("PeerId", str)
"""A libp2p peer id in its base58 text form (``12D3Koo…``)."""

TRACK_PREFIX = "tr_"
RELEASE_PREFIX = "rl_"
PREFIX_CHARS_MIN = 6
"""Shortest part of an id, behind its tr_ or rl_, that may stand for the whole (features.md §3.0)."""

T = TypeVar("T")


def _derive(account: Account, salt: bytes) -> bytes:
    if len(account) != 20 or len(salt) != 32:
        raise ValueError("an id is made from a 20-byte account and a 32-byte salt")
    digest: bytes = keccak(bytes(12) + account + salt)
    return digest


def derive_track_id(account: Account, salt: bytes) -> TrackId:
    """Return keccak256(abi.encode(account, salt)): only this account can register it on a chain."""
    return TrackId(_derive(account, salt))


def derive_release_id(account: Account, salt: bytes) -> ReleaseId:
    """Return keccak256(abi.encode(account, salt)), stable over all versions of a release."""
    return ReleaseId(_derive(account, salt))


def base32(data: bytes) -> str:
    """Return lower-case base32 without padding."""
    return base64.b32encode(data).decode().lower().rstrip("=")


def from_base32(text: str) -> bytes:
    """Return the bytes of lower-case unpadded base32; MalformedError unless canonical."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as err:
        raise MalformedError(f"{text[:80]!r} is not base32") from err
    if base32(data) != text:
        raise MalformedError(f"{text[:80]!r} is not canonical base32")
    return data


def track_text(track_id: TrackId) -> str:
    """Return ``tr_`` + base32 of a track id."""
    return TRACK_PREFIX + base32(track_id)


def release_text(release_id: ReleaseId) -> str:
    """Return ``rl_`` + base32 of a release id."""
    return RELEASE_PREFIX + base32(release_id)


def parse_track(text: str) -> TrackId:
    """Return the track id of its full text form, with or without ``marina:``."""
    return TrackId(_parse(text, TRACK_PREFIX))


def parse_release(text: str) -> ReleaseId:
    """Return the release id of its full text form, with or without ``marina:``."""
    return ReleaseId(_parse(text, RELEASE_PREFIX))


def _parse(text: str, prefix: str) -> bytes:
    body = text.removeprefix("marina:")
    if not body.startswith(prefix):
        raise MalformedError(f"{text[:80]!r} does not start with {prefix}")
    data = from_base32(body.removeprefix(prefix))
    if len(data) != 32:
        raise MalformedError(f"{text[:80]!r} is too short or too long for an id")
    return data


def short(text: str) -> str:
    """Return the first characters of an id for display; unique enough to type back."""
    return text[:14]


def resolve_prefix(typed: str, known: Iterable[tuple[str, T]], *, noun: str) -> T:
    """Return the one thing whose text id starts with what the user typed.

    Args:
        typed: a whole id or a prefix with at least six characters behind ``tr_``/``rl_``.
        known: (text id, thing) pairs.
        noun: what is looked for, for the message.

    Raises:
        UsageError: the prefix is too short or fits several things.
        NotFoundError: it fits none.
    """
    wanted = typed.removeprefix("marina:")
    bare = wanted.removeprefix(TRACK_PREFIX).removeprefix(RELEASE_PREFIX)
    if len(bare) < PREFIX_CHARS_MIN:
        raise UsageError(
            f"{typed!r} is too short: give at least {PREFIX_CHARS_MIN} characters of the {noun} id"
        )
    found = {text: thing for text, thing in known if text.startswith(wanted)}
    if not found:
        raise NotFoundError(f"no {noun} with id {typed!r} here: look it up with 'marina find'")
    if len(found) > 1:
        raise UsageError(
            f"{typed!r} fits {len(found)} {noun}s: {', '.join(short(t) for t in sorted(found)[:4])} …"
        )
    return next(iter(found.values()))


def parse_account(text: str) -> Account:
    """Return the account of a hex address with ``0x``, in any case; MalformedError for anything else."""
    try:
        account = Account(bytes.fromhex(text.removeprefix("0x")))
    except ValueError as err:
        raise MalformedError(f"{text[:80]!r} is not a hexadecimal account") from err
    if not text.startswith("0x") or len(account) != 20 or len(text) != 42:
        raise MalformedError(f"{text[:80]!r} is not 0x and the 40 digits of an account")
    return account


def account_text(account: Account) -> str:
    """Return the EIP-55 checksummed hex address."""
    plain = account.hex()
    digest = keccak(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(plain, digest, strict=False))
