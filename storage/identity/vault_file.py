"""The bytes of ``vault.json``: strict JSON with one spelling, a checksum and bounded contents.

Nothing here decrypts. A file that is not byte for byte what ``render`` would write is damaged, so a
flipped bit is reported as damage and never as a wrong passphrase.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marina.errors import DamagedError
from storage.errors import NewerDataError

FORMAT = "marina/vault/1"
FILE_BYTES_MAX = 256 * 1024
ITEM_BYTES_MAX = 16 * 1024
ITEMS_MAX = 256
SALT_BYTES = 16
NONCE_BYTES = 12
RECIPIENT_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9./-]{0,63}")
_MEMORY_KIB_MAX = 4 * 1024 * 1024
_ITERATIONS_MAX = 64
_LANES_MAX = 64
_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True)
class KdfCost:
    """Work of Argon2id for one passphrase guess.

    Attributes:
        memory_kib: memory, in KiB, at least 8 for each lane.
        iterations: passes over it.
        lanes: degree of parallelism.
    """

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if not (
            1 <= self.lanes <= _LANES_MAX
            and 1 <= self.iterations <= _ITERATIONS_MAX
            and 8 * self.lanes <= self.memory_kib <= _MEMORY_KIB_MAX
        ):
            raise ValueError("Argon2id parameters are outside their bounds")


@dataclass(frozen=True, slots=True)
class Sealed:
    """AES-256-GCM output.

    Attributes:
        version: for an item, how often it was written; for the master key, how often it changed.
        nonce: 12 random bytes.
        ciphertext: with its 16-byte tag.
    """

    version: int
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class VaultFile:
    """Everything that ``vault.json`` holds.

    Attributes:
        facts: public texts that a locked node needs, authenticated once it is unlocked.
        cost: Argon2id parameters.
        salt: 16 random bytes, new with each passphrase.
        master: the master key under the passphrase.
        items: named secrets under the master key.
        recipient: raw X25519 public key of the recovery words; 32 bytes.
        recovery: the master key sealed to ``recipient`` by HPKE.
    """

    facts: Mapping[str, str]
    cost: KdfCost
    salt: bytes
    master: Sealed
    items: Mapping[str, Sealed]
    recipient: bytes
    recovery: bytes


def check_name(name: str) -> str:
    """Return an item or fact name; ValueError unless short lower-case ASCII."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name for something in the vault")
    return name


def render(file: VaultFile) -> bytes:
    """Return the bytes of a vault file; ValueError when it holds too much."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "facts": dict(file.facts),
        "kdf": {
            "name": "argon2id",
            "memory_kib": file.cost.memory_kib,
            "iterations": file.cost.iterations,
            "lanes": file.cost.lanes,
            "salt": _to_text(file.salt),
        },
        "master": _dump_sealed(file.master),
        "items": {name: _dump_sealed(sealed) for name, sealed in file.items.items()},
        "recovery": {"recipient": _to_text(file.recipient), "sealed": _to_text(file.recovery)},
    }
    body["sha256"] = hashlib.sha256(_spell(body)).hexdigest()
    data = _spell(body)
    if len(data) > FILE_BYTES_MAX or len(file.items) > ITEMS_MAX:
        raise ValueError(f"the vault holds at most {ITEMS_MAX} items in {FILE_BYTES_MAX} bytes")
    return data


def parse(data: bytes, *, name: str) -> VaultFile:
    """Return the contents of a vault file.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Raises:
        NewerDataError: a newer Marina wrote it.
        DamagedError: anything but the bytes that ``render`` writes.
    """
    try:
        body = json.loads(data)
        stored_format = body["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise _damaged(name) from err
    if stored_format != FORMAT:
        if isinstance(stored_format, str) and re.fullmatch(r"marina/vault/[0-9]{1,3}", stored_format):
            raise NewerDataError(f"{name} was written by a newer Marina ({stored_format}): update this one")
        raise _damaged(name)
    try:
        file = _load(body)
        is_canonical = render(file) == data
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise _damaged(name) from err
    if not is_canonical:
        raise _damaged(name)
    return file


def _load(body: dict[str, Any]) -> VaultFile:
    kdf = body["kdf"]
    return VaultFile(
        facts={check_name(name): _text(fact) for name, fact in body["facts"].items()},
        cost=KdfCost(_integer(kdf["memory_kib"]), _integer(kdf["iterations"]), _integer(kdf["lanes"])),
        salt=_from_text(kdf["salt"], SALT_BYTES),
        master=_load_sealed(body["master"]),
        items={check_name(name): _load_sealed(sealed) for name, sealed in body["items"].items()},
        recipient=_from_text(body["recovery"]["recipient"], RECIPIENT_BYTES),
        recovery=_from_text(body["recovery"]["sealed"]),
    )


def _load_sealed(value: dict[str, Any]) -> Sealed:
    return Sealed(
        _integer(value["version"]), _from_text(value["nonce"], NONCE_BYTES), _from_text(value["sealed"])
    )


def _dump_sealed(sealed: Sealed) -> dict[str, Any]:
    return {
        "version": sealed.version,
        "nonce": _to_text(sealed.nonce),
        "sealed": _to_text(sealed.ciphertext),
    }


def _spell(body: dict[str, Any]) -> bytes:
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _integer(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _U32:
        raise ValueError("not an integer of 32 bits")
    return value


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_text(value: object, length: int | None = None) -> bytes:
    try:
        data = base64.b64decode(_text(value), validate=True)
    except binascii.Error as err:
        raise ValueError("not base64") from err
    if length is not None and len(data) != length:
        raise ValueError(f"not {length} bytes")
    return data


def _damaged(name: str) -> DamagedError:
    return DamagedError(f"{name} is damaged: restore a backup, or make the identity again from the 24 words")
