"""Values of DAO parameters that are no numbers, as people write them: accounts, digests, tracks."""

from __future__ import annotations

from marina.cid import cid_from_digest, cid_text, digest_of, parse_cid
from marina.errors import MalformedError, UsageError
from marina.ids import (
    Account,
    ReleaseId,
    TrackId,
    account_text,
    parse_account,
    parse_release,
    parse_track,
    release_text,
    track_text,
)

NOBODY = Account(bytes(20))
_NONE = "none"


def parse_token(text: str) -> bytes:
    """Return the contract of a token; MalformedError unless it is 0x and 40 digits."""
    return bytes(parse_account(text.strip()))


def format_yes_no(value: object) -> str:
    """Return ``yes`` or ``no``."""
    return "yes" if value else "no"


def parse_account_or_none(text: str) -> bytes:
    """Return the account of ``0x…``, the zero account of ``none``; MalformedError otherwise."""
    return bytes(NOBODY) if text.strip().lower() == _NONE else bytes(parse_account(text.strip()))


def format_account(account: bytes) -> str:
    """Return an account as text; ``nobody`` for the zero account."""
    return "nobody" if account == NOBODY else account_text(Account(account))


def parse_digest(text: str) -> bytes:
    """Return the sha2-256 digest of a CID or of 64 hex digits; ``none`` is zero; UsageError otherwise."""
    bare = text.strip()
    if bare.lower() == _NONE:
        return bytes(32)
    try:
        return digest_of(parse_cid(bare)) if bare.startswith("b") and len(bare) == 59 else _hex32(bare)
    except (MalformedError, ValueError) as err:
        raise UsageError(f"{bare[:80]!r} is neither a CID (bafk…) nor a digest of 64 hex digits") from err


def format_digest(digest: bytes) -> str:
    """Return the CID of the raw block with a digest; ``none`` for zero."""
    return _NONE if digest == bytes(32) else cid_text(cid_from_digest(digest))


def parse_thing(text: str) -> bytes:
    """Return the 32 bytes of a track id, a release id or 0x and 64 hex digits; UsageError otherwise."""
    bare = text.strip().removeprefix("marina:")
    try:
        if bare.startswith("tr_"):
            return bytes(parse_track(bare))
        if bare.startswith("rl_"):
            return bytes(parse_release(bare))
        return _hex32(bare)
    except (MalformedError, ValueError) as err:
        raise UsageError(f"{bare[:80]!r} is neither a track (tr_…) nor a release (rl_…)") from err


def format_thing(thing: bytes) -> str:
    """Return an id as a track and as a release: the chain does not tell which of both it is."""
    return f"{track_text(TrackId(thing))} (as a release: {release_text(ReleaseId(thing))})"


def _hex32(text: str) -> bytes:
    data = bytes.fromhex(text.removeprefix("0x"))
    if len(data) != 32:
        raise ValueError("not 32 bytes")
    return data
