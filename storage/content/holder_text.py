"""The text of a key holder, which people copy from one machine to another: ``gk_`` and base32.

``gk_`` ‖ base32(peer_key(32) ‖ hpke_key(32) ‖ first 4 bytes of their sha256), lower case, no padding. The
checksum is there because a key with a slip in it would make a keybox that nobody can open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from marina.errors import MalformedError
from storage.content.guarded import KeyHolder

PREFIX = "gk_"
_KEY_BYTES = 32
_CHECK_BYTES = 4


def holder_text(holder: KeyHolder) -> str:
    """Return the text of a guardian's or delegate's two public keys."""
    keys = holder.peer_key + holder.hpke_key
    data = keys + hashlib.sha256(keys).digest()[:_CHECK_BYTES]
    return PREFIX + base64.b32encode(data).decode().rstrip("=").lower()


def parse_holder(text: str) -> KeyHolder:
    """Return the key holder that a text names.

    Raises:
        MalformedError: it is no such text, or has a slip in it.
    """
    bare = text.strip().removeprefix(PREFIX)
    try:
        data = base64.b32decode((bare + "=" * (-len(bare) % 8)).upper())
    except (binascii.Error, ValueError):
        data = b""
    keys, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    is_whole = len(keys) == 2 * _KEY_BYTES and hmac.compare_digest(
        hashlib.sha256(keys).digest()[:_CHECK_BYTES], check
    )
    holder = KeyHolder(keys[:_KEY_BYTES], keys[_KEY_BYTES:])
    if not is_whole or holder_text(holder) != text.strip():
        raise MalformedError(
            f"{text[:40]!r} is no key of a node, or has a slip in it: copy what 'marina guardian id' prints"
        )
    return holder
