"""What a passphrase is: its smallest length and its one spelling in bytes."""

from __future__ import annotations

import unicodedata

from marina.secret import Secret
from storage.identity.errors import WeakPassphraseError

CHARS_MIN = 8
CHARS_MAX = 1024


def check_new_passphrase(passphrase: Secret[str]) -> None:
    """Return if a passphrase may protect something from now on.

    Raises:
        WeakPassphraseError: shorter than 8 or longer than 1024 characters.
    """
    length = len(passphrase.reveal())
    if length < CHARS_MIN:
        raise WeakPassphraseError(
            f"a passphrase has at least {CHARS_MIN} characters, this one {length}: "
            "a few words that nobody would guess are good"
        )
    if length > CHARS_MAX:
        raise WeakPassphraseError(f"a passphrase has at most {CHARS_MAX} characters, this one {length}")


def passphrase_bytes(passphrase: Secret[str]) -> bytes:
    """Return the UTF-8 bytes of the NFKC form, so that every keyboard gives the same key."""
    return unicodedata.normalize("NFKC", passphrase.reveal()).encode()
