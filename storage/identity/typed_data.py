"""EIP-712 digests and account signatures, without the weight of eth-account.

Covers what Marina's own records need: one flat struct of ``address``, ``bool``, ``bytesN``, ``uintN``,
``bytes`` and ``string`` fields under the domain ``{name: "marina", version: "1"}``. There is no chain
id and no contract in the domain, so an identity and a release need no chain. eth-account gives the
same digests and signatures (the tests compare), but importing it costs 26 MB of an idle daemon.
Source: EIP-712, EIP-2 (low s), SEC 1 §4.1.6 (recovery); architecture §13 of the design.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import coincurve
from eth_hash.auto import keccak

from marina.errors import MalformedError
from marina.ids import Account

FieldValue: TypeAlias = bytes | int | bool | str
DOMAIN_NAME = "marina"
DOMAIN_VERSION = "1"
SIGNATURE_BYTES = 65
DIGEST_BYTES = 32
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_RECOVERY_BASE = 27
_SIZED = re.compile(r"(uint|bytes)([1-9][0-9]{0,2})")


def struct_hash(
    primary_type: str, fields: Sequence[tuple[str, str]], message: Mapping[str, FieldValue]
) -> bytes:
    """Return EIP-712's 32-byte ``hashStruct`` of a flat struct.

    Args:
        primary_type: the struct's name.
        fields: (name, type) pairs in the order of the type string.
        message: a value for each name, nothing else.

    Raises:
        ValueError: a name is missing or unknown, or a value does not fit its type.
    """
    if {name for name, _ in fields} != set(message):
        raise ValueError(f"the message does not have exactly the fields of {primary_type}")
    type_text = f"{primary_type}({','.join(f'{kind} {name}' for name, kind in fields)})"
    words = [_encode_word(kind, message[name], name) for name, kind in fields]
    return _keccak(_keccak(type_text.encode()) + b"".join(words))


def typed_digest(
    primary_type: str, fields: Sequence[tuple[str, str]], message: Mapping[str, FieldValue]
) -> bytes:
    """Return the 32-byte digest that an account signs for a message in Marina's domain.

    Arguments and errors as for ``struct_hash``.
    """
    return _keccak(b"\x19\x01" + _DOMAIN_SEPARATOR + struct_hash(primary_type, fields, message))


def sign_digest(account_key: bytes, digest: bytes) -> bytes:
    """Return r ‖ s ‖ v: 65 bytes, low s, v 27 or 28, deterministic (RFC 6979).

    Raises:
        ValueError: the key is no secp256k1 key or the digest has not 32 bytes.
    """
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    signature: bytes = coincurve.PrivateKey(account_key).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes((_RECOVERY_BASE + signature[64],))


def recover(digest: bytes, signature: bytes) -> Account:
    """Return the account whose key made a signature.

    Every 65-byte string with valid r and s belongs to some account: compare the result.

    Raises:
        MalformedError: not 65 bytes, v other than 27 and 28, a high s, or no point fits.
    """
    if len(digest) != DIGEST_BYTES or len(signature) != SIGNATURE_BYTES:
        raise MalformedError("an account signature has 65 bytes over a 32-byte digest")
    recovery_id = signature[64] - _RECOVERY_BASE
    if recovery_id not in (0, 1):
        raise MalformedError("an account signature ends in 27 or 28")
    if not 0 < int.from_bytes(signature[32:64]) <= _HALF_ORDER:
        raise MalformedError("an account signature has a low s (EIP-2)")
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes((recovery_id,)), digest, hasher=None
        )
    except ValueError as err:
        raise MalformedError("the account signature fits no key") from err
    return _account_of_point(key)


def account_of_key(account_key: bytes) -> Account:
    """Return the 20-byte address of a secp256k1 private key; ValueError if it is none."""
    return _account_of_point(coincurve.PrivateKey(account_key).public_key)


def _account_of_point(key: coincurve.PublicKey) -> Account:
    return Account(_keccak(key.format(compressed=False)[1:])[12:])


def _encode_word(kind: str, value: FieldValue, name: str) -> bytes:
    if kind == "bool" and isinstance(value, bool):
        return int(value).to_bytes(32)
    if kind == "address" and isinstance(value, bytes) and len(value) == 20:
        return bytes(12) + value
    if kind == "string" and isinstance(value, str):
        return _keccak(value.encode())
    if kind == "bytes" and isinstance(value, bytes):
        return _keccak(value)
    if sized := _SIZED.fullmatch(kind):
        return _encode_sized(sized[1], int(sized[2]), value, name)
    raise ValueError(f"{name} does not fit the type {kind}")


def _encode_sized(family: str, size: int, value: FieldValue, name: str) -> bytes:
    if family == "bytes" and size <= 32:
        if isinstance(value, bytes) and len(value) == size:
            return value + bytes(32 - size)
    elif family == "uint" and size <= 256 and size % 8 == 0 and type(value) is int and 0 <= value < 1 << size:
        return value.to_bytes(32)
    raise ValueError(f"{name} does not fit the type {family}{size}")


def _keccak(data: bytes) -> bytes:
    digest: bytes = keccak(data)
    return digest


_DOMAIN_SEPARATOR = struct_hash(
    "EIP712Domain",
    (("name", "string"), ("version", "string")),
    {"name": DOMAIN_NAME, "version": DOMAIN_VERSION},
)
