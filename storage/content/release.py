"""Release manifest: the signed list of tracks that an account publishes, as DAG-CBOR.

The account signs each version once, by EIP-712 over the payload's sha256, so that no expired device
ever invalidates content. An update is a payload with a higher version that names its predecessor; a
withdrawal is such a payload without tracks. ::

    {"payload": {...}, "signature": 65 bytes}
    Release(bytes32 releaseId,address account,uint64 version,uint64 time,bool withdrawn,bytes32 payload)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from marina.cid import DAG_CBOR, Cid, cid_of, cid_text, parse_cid
from marina.dagcbor import Link, Node, decode, encode
from marina.errors import MalformedError
from marina.ids import Account, ReleaseId, derive_release_id
from storage.content.fields import Fields
from storage.content.track import HINTS_MAX, MANIFEST_BYTES_MAX, TEXT_BYTES_MAX, ProviderHint, read_hint
from storage.identity.typed_data import recover, typed_digest

TYPE = "marina/release/1"
TRACKS_MAX = 500
EIP712_TYPE = "Release"
EIP712_FIELDS: tuple[tuple[str, str], ...] = (
    ("releaseId", "bytes32"),
    ("account", "address"),
    ("version", "uint64"),
    ("time", "uint64"),
    ("withdrawn", "bool"),
    ("payload", "bytes32"),
)
_U64 = 2**64 - 1


class AccountSigner(Protocol):
    """Signs 32-byte digests with the account's secp256k1 key."""

    @property
    def account(self) -> Account:
        """The signing account."""
        ...

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the 65-byte recoverable signature of a digest."""
        ...


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a release.

    Attributes:
        account: who publishes and signs.
        salt: 32 random bytes that, with the account, give the release id.
        tracks: CIDs of the track manifests in playing order; empty when withdrawn.
        version: 1 for the first; ``previous`` is the CID of the version before.
        published_s: Unix seconds, UTC.
        withdrawn: a tombstone: nothing is offered any more, owners keep what they have.
        reason: why it was withdrawn, for people.
    """

    account: Account
    salt: bytes
    title: str
    artist: str
    terms: str
    tracks: tuple[Cid, ...]
    artwork: Cid | None
    version: int
    published_s: int
    previous: Cid | None = None
    withdrawn: bool = False
    reason: str = ""
    hints: tuple[ProviderHint, ...] = ()

    @property
    def release_id(self) -> ReleaseId:
        """The id that all versions share."""
        return derive_release_id(self.account, self.salt)


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release whose signature was checked, with its block."""

    release: Release
    block: bytes

    @property
    def cid(self) -> Cid:
        """The CID of this version."""
        return cid_of(self.block, DAG_CBOR)


def sign_release(release: Release, signer: AccountSigner) -> SignedRelease:
    """Return the release as a signed block.

    Raises:
        ValueError: the signer is another account, or the manifest is larger than 512 KiB.
    """
    if signer.account != release.account:
        raise ValueError("a release is signed by its own account")
    payload = _payload_node(release)
    signature = signer.sign_digest(_digest(release, encode(payload)))
    block = encode({"payload": payload, "signature": signature})
    if len(block) > MANIFEST_BYTES_MAX:
        raise ValueError(f"a release manifest has at most {MANIFEST_BYTES_MAX} bytes, not {len(block)}")
    return SignedRelease(release, block)


def open_release(block: bytes) -> SignedRelease:
    """Return the release in a block after checking form, bounds and signature.

    Raises:
        MalformedError: anything but a release that its account signed.
    """
    node = decode(block, limit_bytes=MANIFEST_BYTES_MAX)
    outer = Fields(node, "release manifest")
    if not isinstance(node, dict) or set(node) != {"payload", "signature"}:
        # What is not signed must not vary: one signature, one CID.
        raise MalformedError("release manifest: it holds more than a payload and its signature")
    payload = outer.node("payload")
    release = _read_payload(payload)
    signature = outer.blob("signature", 65, 65)
    if recover(_digest(release, encode(payload)), signature) != release.account:
        raise MalformedError("release manifest: the signature is not the account's")
    return SignedRelease(release, block)


def precedence(version: int, published_s: int, cid: Cid) -> tuple[int, int, bytes]:
    """Return what two manifests of one release are compared by: the greater one is in force.

    The CID decides where an artist signed the same version twice, so that all nodes agree.
    """
    return version, published_s, bytes(cid)


def _digest(release: Release, payload: bytes) -> bytes:
    message: dict[str, bytes | int | bool] = {
        "releaseId": release.release_id,
        "account": release.account,
        "version": release.version,
        "time": release.published_s,
        "withdrawn": release.withdrawn,
        "payload": hashlib.sha256(payload).digest(),
    }
    return typed_digest(EIP712_TYPE, EIP712_FIELDS, message)


def _payload_node(release: Release) -> Node:
    return {
        "type": TYPE,
        "id": release.release_id,
        "account": release.account,
        "salt": release.salt,
        "title": release.title,
        "artist": release.artist,
        "terms": release.terms,
        "tracks": [Link(cid) for cid in release.tracks],
        "artwork": Link(release.artwork) if release.artwork else None,
        "version": release.version,
        "time": release.published_s,
        "previous": cid_text(release.previous) if release.previous else None,
        "withdrawn": release.withdrawn,
        "reason": release.reason,
        "hints": [[hint.peer, list(hint.addresses)] for hint in release.hints],
    }


def _read_payload(node: Node) -> Release:
    fields = Fields(node, "release manifest")
    fields.literal("type", TYPE)
    release = Release(
        account=Account(fields.blob("account", 20, 20)),
        salt=fields.blob("salt", 32, 32),
        title=fields.text("title", TEXT_BYTES_MAX, may_be_empty=False),
        artist=fields.text("artist", TEXT_BYTES_MAX),
        terms=fields.text("terms", TEXT_BYTES_MAX),
        tracks=fields.items("tracks", TRACKS_MAX, _track_link),
        artwork=fields.optional("artwork", lambda: fields.link("artwork")),
        version=fields.number("version", 1, _U64),
        published_s=fields.number("time", 0, _U64),
        previous=fields.optional("previous", lambda: parse_cid(fields.text("previous", 80))),
        withdrawn=fields.flag("withdrawn"),
        reason=fields.text("reason", TEXT_BYTES_MAX),
        hints=fields.items("hints", HINTS_MAX, read_hint),
    )
    if fields.blob("id", 32, 32) != release.release_id:
        raise MalformedError("release manifest: the id does not follow from account and salt")
    if bool(release.tracks) == release.withdrawn:
        raise MalformedError("release manifest: it has tracks exactly if it is not withdrawn")
    if (release.version == 1) != (release.previous is None):
        raise MalformedError("release manifest: every version but the first names the one before")
    return release


def _track_link(node: Node) -> Cid:
    if not isinstance(node, Link):
        raise MalformedError("release manifest: a track is a link")
    return node.cid
