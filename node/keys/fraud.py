"""The proof that an artist's keybox is false: k shares that fit it, and do not make the key it commits to.

Whoever has the proof can check it with the signed manifest, which names the key, and the chain, which
anchors the keybox. Source: design, security §1.7 "Buyer checks".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from marina.errors import DamagedError, MalformedError
from marina.schema import U8, U64, Size, record
from marina.secret import Secret
from storage.content.guarded import FraudError, join_key
from storage.content.keybox import KEYBOX_BYTES_MAX, Keybox, parse_keybox
from storage.content.keys import KeyName

_SHARES_MAX = 32
_SHARE_BYTES_MAX = 48


@record(None)
@dataclass(frozen=True, slots=True)
class ProvenShare:
    """One share of a false keybox; it opens nothing."""

    x: U8
    share: Annotated[bytes, Size(1, _SHARE_BYTES_MAX)]


@record("marina/key-fraud/1")
@dataclass(frozen=True, slots=True)
class KeyFraud:
    """What proves it.

    Attributes:
        keybox: its bytes; their SHA-256 is the digest that the chain anchors.
        shares: at least as many as it takes.
        seen_s: Unix seconds.
    """

    keybox: Annotated[bytes, Size(1, KEYBOX_BYTES_MAX)]
    shares: Annotated[tuple[ProvenShare, ...], Size(1, _SHARES_MAX)]
    seen_s: U64

    @property
    def digest(self) -> bytes:
        """What the chain has to say of the keybox."""
        return hashlib.sha256(self.keybox).digest()


def fraud_of(box: Keybox, shares: Mapping[int, Secret[bytes]], seen_s: int) -> KeyFraud:
    """Return the proof made of shares that a keybox commits to."""
    proven = tuple(ProvenShare(x, share.reveal()) for x, share in sorted(shares.items()))
    return KeyFraud(box.to_bytes(), proven[:_SHARES_MAX], seen_s)


def proves_fraud(proof: KeyFraud, name: KeyName) -> bool:
    """Return whether a proof shows that a keybox is false, if it is the one that the chain anchors.

    Args:
        proof: by whomever.
        name: the key, as the track's signed manifest has it.
    """
    try:
        box = parse_keybox(proof.keybox)
        join_key(box, name, {each.x: Secret(each.share) for each in proof.shares})
    except FraudError:
        return True
    except (DamagedError, MalformedError):
        return False
    return False
