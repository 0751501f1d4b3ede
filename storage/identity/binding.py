"""DeviceBinding: the account lets one device act for it, for a while and for named purposes.

The account signs the EIP-712 digest; the device signs the same digest with its Ed25519 key, so that
nobody can bind a peer id that is not theirs. It travels as
E["marina/bind/1", owner, peer, scopes, not_before, not_after, epoch, nonce, signature, counter_signature].
An expired binding ends a device's rights, never the validity of what the account signed.
Source: architecture §13 "Binding" and security §2 of the design; docs/protocol/identity.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntFlag

from marina.errors import MalformedError
from marina.ids import Account, account_text
from marina.schema import U32, U64, Bytes16, Bytes20, Bytes32, Bytes64, Bytes65, decode_record, record
from marina.secret import Secret
from marina.signing import Signer, verify
from storage.identity.errors import BindingError
from storage.identity.typed_data import account_of_key, recover, sign_digest, typed_digest

DAY_S = 86_400
VALIDITY_S = 90 * DAY_S
"""Longest time between ``not_before`` and ``not_after``; verifiers refuse more."""
RENEWAL_S = 30 * DAY_S
"""A binding with less left than this is renewed."""
CLOCK_TOLERANCE_S = 300
"""How far two clocks may differ: both ends of the window are widened by it."""
NONCE_BYTES = 16
BINDING_BYTES_MAX = 512

PRIMARY_TYPE = "DeviceBinding"
FIELDS: tuple[tuple[str, str], ...] = (
    ("owner", "address"),
    ("peerKey", "bytes32"),
    ("scopes", "uint32"),
    ("notBefore", "uint64"),
    ("notAfter", "uint64"),
    ("epoch", "uint64"),
    ("nonce", "bytes16"),
)


class Scope(IntFlag):
    """What a device may do for its account; votes and payments always need the account itself."""

    SERVE = 1
    KEY_REQUEST = 2
    POST = 4
    PUBLISH = 8
    GUARDIAN = 16


NO_SCOPES = Scope(0)
DEFAULT_SCOPES = Scope.SERVE | Scope.KEY_REQUEST | Scope.POST | Scope.PUBLISH


@record("marina/bind/1")
@dataclass(frozen=True, slots=True)
class DeviceBinding:
    """One binding, checked or not.

    Attributes:
        owner: account that signed.
        peer: raw Ed25519 public key of the device.
        scopes: bits of ``Scope``; unknown bits grant nothing here.
        not_before: first second of validity, Unix UTC.
        not_after: last second of validity.
        epoch: raised by the owner to void all older bindings.
        nonce: random, so that two bindings never have the same digest.
        signature: r ‖ s ‖ v of the account.
        counter_signature: Ed25519 signature of the device over the digest.
    """

    owner: Bytes20
    peer: Bytes32
    scopes: U32
    not_before: U64
    not_after: U64
    epoch: U64
    nonce: Bytes16
    signature: Bytes65
    counter_signature: Bytes64

    @property
    def digest(self) -> bytes:
        """The 32 bytes that account and device sign."""
        return binding_digest(
            owner=self.owner,
            peer=self.peer,
            scopes=self.scopes,
            not_before=self.not_before,
            not_after=self.not_after,
            epoch=self.epoch,
            nonce=self.nonce,
        )

    def needs_renewal(self, now_s: int) -> bool:
        """Return whether less than 30 days are left, or the clock stands before its start."""
        return self.not_after - now_s < RENEWAL_S or now_s + CLOCK_TOLERANCE_S < self.not_before


def binding_digest(
    *, owner: bytes, peer: bytes, scopes: int, not_before: int, not_after: int, epoch: int, nonce: bytes
) -> bytes:
    """Return the EIP-712 digest of a binding's fields."""
    return typed_digest(
        PRIMARY_TYPE,
        FIELDS,
        {
            "owner": owner,
            "peerKey": peer,
            "scopes": scopes,
            "notBefore": not_before,
            "notAfter": not_after,
            "epoch": epoch,
            "nonce": nonce,
        },
    )


def issue_binding(
    account_key: Secret[bytes],
    device: Signer,
    *,
    scopes: Scope,
    epoch: int,
    now_s: int,
    nonce: bytes | None = None,
) -> DeviceBinding:
    """Return a binding of a device for the next 90 days, signed by both.

    Args:
        account_key: the account's secp256k1 key.
        device: the device that is bound.
        scopes: what it may do; at least one.
        epoch: the owner's current epoch.
        now_s: Unix seconds, the start of the window.
        nonce: 16 bytes; random unless given (test vectors).
    """
    if not scopes:
        raise ValueError("a binding grants at least one scope")
    owner = account_of_key(account_key.reveal())
    nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
    digest = binding_digest(
        owner=owner,
        peer=device.public_key,
        scopes=int(scopes),
        not_before=now_s,
        not_after=now_s + VALIDITY_S,
        epoch=epoch,
        nonce=nonce,
    )
    return DeviceBinding(
        owner=owner,
        peer=device.public_key,
        scopes=int(scopes),
        not_before=now_s,
        not_after=now_s + VALIDITY_S,
        epoch=epoch,
        nonce=nonce,
        signature=sign_digest(account_key.reveal(), digest),
        counter_signature=device.sign(digest),
    )


def verify_binding(
    binding: DeviceBinding,
    *,
    now_s: int,
    peer: bytes,
    required_scopes: Scope = NO_SCOPES,
    epoch_min: int = 0,
) -> Account:
    """Return the account that a device may act for.

    Args:
        binding: as decoded.
        now_s: the verifier's Unix seconds.
        peer: raw public key that the other side proved to hold (its libp2p identity).
        required_scopes: all of these must be granted.
        epoch_min: highest epoch known of this owner; an older one is revoked.

    Raises:
        BindingError: any rule is broken; the message says which.
    """
    check_rules(binding, now_s=now_s, peer=peer, required_scopes=required_scopes, epoch_min=epoch_min)
    return check_signatures(binding)


def check_rules(
    binding: DeviceBinding,
    *,
    now_s: int,
    peer: bytes,
    required_scopes: Scope = NO_SCOPES,
    epoch_min: int = 0,
) -> None:
    """Check all but the signatures; arguments and errors as for ``verify_binding``."""
    if binding.peer != peer:
        raise BindingError("the binding is for another device than the one that shows it")
    _check_window(binding, now_s)
    if binding.epoch < epoch_min:
        raise BindingError("the binding was revoked: its owner has begun a newer epoch")
    if required_scopes & ~binding.scopes:
        missing = Scope(required_scopes & ~binding.scopes)
        raise BindingError(f"the binding does not grant {missing.name}")


def check_signatures(binding: DeviceBinding) -> Account:
    """Return the account that signed a binding, whatever its window, scopes and epoch.

    For what a device signed while it was bound, like a backup; a live peer needs ``verify_binding``.

    Raises:
        BindingError: the account's or the device's signature does not fit.
    """
    digest = binding.digest
    check_counter_signature(binding)
    try:
        signer = recover(digest, binding.signature)
    except MalformedError as err:
        raise BindingError(f"the binding is not signed by both sides: {err}") from err
    if signer != binding.owner:
        raise BindingError(f"the binding is not signed by {account_text(Account(binding.owner))}")
    return signer


def check_counter_signature(binding: DeviceBinding) -> None:
    """Check that the device wants to be bound; BindingError if it did not sign.

    For accounts that are contracts, whose own signature only the chain can judge (ERC-1271).
    """
    try:
        verify(binding.peer, binding.counter_signature, binding.digest)
    except MalformedError as err:
        raise BindingError(f"the binding is not signed by both sides: {err}") from err


def decode_binding(data: bytes) -> DeviceBinding:
    """Return the binding in record bytes, not yet verified; MalformedError for anything else."""
    return decode_record(DeviceBinding, data, limit_bytes=BINDING_BYTES_MAX)


def _check_window(binding: DeviceBinding, now_s: int) -> None:
    if not 0 < binding.not_after - binding.not_before <= VALIDITY_S:
        raise BindingError(f"a binding is valid for at most {VALIDITY_S // DAY_S} days")
    if now_s + CLOCK_TOLERANCE_S < binding.not_before:
        raise BindingError(
            f"the binding begins in {binding.not_before - now_s} s: check the clocks of both machines"
        )
    if now_s - CLOCK_TOLERANCE_S > binding.not_after:
        raise BindingError(
            f"the binding ended {now_s - binding.not_after} s ago: its owner unlocks the vault to renew it"
        )
