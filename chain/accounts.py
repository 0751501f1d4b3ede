"""Signing for an account: EIP-1559 transactions and EIP-712 messages of any domain.

eth-account builds every payload; the key itself stays behind ``DigestSigner`` (the vault), which sees
32 bytes at a time. What comes back is checked to be the account's signature before it is used, so a
damaged or mistaken key cannot put a transaction of another account on the wire.
Source: EIP-1559, EIP-2718, EIP-712, ERC-2612.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from marina.errors import DamagedError, MalformedError
from marina.ids import Account, account_text, parse_account
from storage.identity.typed_data import FieldValue, recover, struct_hash

_REQUIRED = ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
_OPTIONAL = ("type", "to", "value", "data", "accessList", "from")
_DYNAMIC_FEE = 2
_UINT64_MAX = 2**64 - 1
_UINT256_MAX = 2**256 - 1
_RECOVERY_BASE = 27
_PERMIT = (
    ("owner", "address"),
    ("spender", "address"),
    ("value", "uint256"),
    ("nonce", "uint256"),
    ("deadline", "uint256"),
)
_REGISTER = (
    ("artist", "address"),
    ("salt", "bytes32"),
    ("contentDigest", "bytes32"),
    ("releaseId", "bytes32"),
    ("royaltyBps", "uint16"),
    ("splitsHash", "bytes32"),
    ("deadline", "uint256"),
)


class DigestSigner(Protocol):
    """Signs 32 bytes with one account's key; ``storage.identity.owner.AccountSigner`` is one."""

    @property
    def account(self) -> Account:
        """The signing account."""
        ...

    def sign_digest(self, digest: bytes) -> bytes:
        """Return r ‖ s ‖ v, v 27 or 28; VaultLockedError while the key is out of reach."""
        ...


class TransactionSigner(DigestSigner, Protocol):
    """Signs transactions too."""

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        """Return the raw signed EIP-1559 transaction; see ``VaultSigner``."""
        ...


@dataclass(frozen=True, slots=True)
class TypedDomain:
    """The EIP-712 domain of one contract.

    Attributes:
        name: as the contract says it.
        version: as the contract says it.
        chain_id: of its chain.
        contract: its address.
    """

    name: str
    version: str
    chain_id: int
    contract: Account


class VaultSigner:
    """Signs transactions and typed messages with a key that a vault holds."""

    def __init__(self, signer: DigestSigner) -> None:
        self._signer = signer

    def __repr__(self) -> str:
        return f"VaultSigner({account_text(self.account)})"

    @property
    def account(self) -> Account:
        """The signing account."""
        return self._signer.account

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the account's 65-byte signature of a 32-byte digest.

        Raises:
            VaultLockedError: the vault is locked.
            DamagedError: the key in the vault is another account's.
        """
        signature = self._signer.sign_digest(digest)
        try:
            is_own = recover(digest, signature) == self.account
        except MalformedError:
            is_own = False
        if not is_own:
            raise DamagedError(
                f"the key in the vault does not sign for {account_text(self.account)}: nothing was sent; "
                "restore a backup or import the account again"
            )
        return signature

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        """Return the raw signed transaction, ready for ``eth_sendRawTransaction``.

        Args:
            fields: as web3 names them. ``chainId``, ``nonce``, ``gas``, ``maxFeePerGas`` and
                ``maxPriorityFeePerGas`` are required integers; ``to`` (20 bytes or 0x text; absent or None
                creates a contract), ``value``, ``data`` (bytes or 0x text) and ``accessList`` are optional;
                ``from`` and ``type`` must be this account and 2 if they are there.

        Raises:
            ValueError: a field is missing, unknown or out of range.
            VaultLockedError: the vault is locked.
            DamagedError: the key in the vault is another account's.
        """
        from eth_account.typed_transactions import TypedTransaction

        plain = self._checked(fields)
        try:
            unsigned = TypedTransaction.from_dict(plain)
        except TypeError as err:
            raise ValueError(f"these are no transaction's fields: {err}") from err
        signature = self.sign_digest(bytes(unsigned.hash()))
        signed = TypedTransaction.from_dict(
            {
                **plain,
                "v": signature[64] - _RECOVERY_BASE,
                "r": int.from_bytes(signature[:32]),
                "s": int.from_bytes(signature[32:64]),
            }
        )
        return bytes(signed.encode())

    def sign_typed(
        self,
        domain: TypedDomain,
        primary_type: str,
        fields: Sequence[tuple[str, str]],
        message: Mapping[str, FieldValue],
    ) -> bytes:
        """Return the signature of a flat EIP-712 message; errors as for ``typed_digest`` and signing."""
        return self.sign_digest(typed_digest(domain, primary_type, fields, message))

    def sign_permit(
        self, token: TypedDomain, *, spender: Account, value: int, nonce: int, deadline_s: int
    ) -> tuple[int, bytes, bytes]:
        """Return (v, r, s) of an ERC-2612 permit.

        Args:
            token: the token's own domain (its ``eip712Domain()`` or name and version).
            spender: who may take the tokens.
            value: how many base units.
            nonce: the token's ``nonces(account)``.
            deadline_s: last Unix second at which the permit can be used.
        """
        message: dict[str, FieldValue] = {
            "owner": bytes(self.account),
            "spender": bytes(spender),
            "value": value,
            "nonce": nonce,
            "deadline": deadline_s,
        }
        signature = self.sign_typed(token, "Permit", _PERMIT, message)
        return signature[64], signature[:32], signature[32:64]

    def sign_registration(
        self,
        registry: TypedDomain,
        *,
        salt: bytes,
        content_digest: bytes,
        release_id: bytes,
        royalty_bps: int,
        splits_hash: bytes,
        deadline_s: int,
    ) -> bytes:
        """Return this artist's consent that anybody may send ``TrackRegistry.registerFor`` with these facts.

        Args:
            registry: the TrackRegistry's domain.
            salt: 32 bytes, of the track's id.
            content_digest: sha256 of the manifest block.
            release_id: 32 bytes, zero for none.
            royalty_bps: ERC-2981 royalty in basis points.
            splits_hash: ``keccak256(abi.encode(splits))``.
            deadline_s: last Unix second at which it can be used.
        """
        message: dict[str, FieldValue] = {
            "artist": bytes(self.account),
            "salt": salt,
            "contentDigest": content_digest,
            "releaseId": release_id,
            "royaltyBps": royalty_bps,
            "splitsHash": splits_hash,
            "deadline": deadline_s,
        }
        return self.sign_typed(registry, "Register", _REGISTER, message)

    def _checked(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are signed, each in the one form that eth-account takes."""
        unknown = set(fields) - {*_REQUIRED, *_OPTIONAL}
        missing = set(_REQUIRED) - set(fields)
        if unknown or missing:
            raise ValueError(f"a transaction has no {sorted(unknown)} and needs {sorted(missing)}")
        if fields.get("type", _DYNAMIC_FEE) not in (_DYNAMIC_FEE, "0x2"):
            raise ValueError("only EIP-1559 transactions (type 2) are signed")
        sender = fields.get("from")
        if sender is not None and _address(sender, "from") != self.account:
            raise ValueError(f"the transaction is from another account than {account_text(self.account)}")
        for name in ("chainId", "nonce", "gas"):
            _integer(fields[name], name, _UINT64_MAX)
        for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
            _integer(fields[name], name, _UINT256_MAX)
        if fields["chainId"] == 0:
            raise ValueError("a transaction without a chain id could be repeated on every chain")
        if fields["maxPriorityFeePerGas"] > fields["maxFeePerGas"]:
            raise ValueError("the tip is above the whole fee per gas")
        target = fields.get("to")
        return {
            "type": _DYNAMIC_FEE,
            **{name: fields[name] for name in _REQUIRED},
            "to": b"" if target in (None, b"", "") else bytes(_address(target, "to")),
            "value": _integer(fields.get("value", 0), "value", _UINT256_MAX),
            "data": _data(fields.get("data", b"")),
            "accessList": list(fields.get("accessList", ())),
        }


def typed_digest(
    domain: TypedDomain,
    primary_type: str,
    fields: Sequence[tuple[str, str]],
    message: Mapping[str, FieldValue],
) -> bytes:
    """Return the 32-byte EIP-712 digest of a flat message in a contract's domain.

    Args:
        domain: of the contract that will check it.
        primary_type: the struct's name.
        fields: (name, type) pairs in the order of the type string.
        message: a value for each name; addresses and hashes as bytes.

    Raises:
        ValueError: the message does not fit its fields.
    """
    from eth_account.messages import encode_typed_data
    from eth_hash.auto import keccak

    # eth-account fills short bytes up and cuts integers; the strict encoder refuses both.
    body = struct_hash(primary_type, fields, message)
    signable = encode_typed_data(
        domain_data={
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": account_text(domain.contract),
        },
        message_types={primary_type: [{"name": name, "type": kind} for name, kind in fields]},
        message_data=dict(message),
    )
    if signable.body != body:
        raise ValueError(f"two encoders disagree about {primary_type}: it is not signed")
    return bytes(keccak(b"\x19" + signable.version + signable.header + signable.body))


def _integer(value: object, name: str, maximum: int) -> int:
    if type(value) is not int or not 0 <= value <= maximum:
        raise ValueError(f"{name} of a transaction is not an integer from 0 to {maximum}")
    return value


def _address(value: object, name: str) -> Account:
    if isinstance(value, str):
        try:
            return parse_account(value)
        except MalformedError as err:
            raise ValueError(f"{name} is no address: {err}") from err
    if isinstance(value, bytes) and len(value) == 20:
        return Account(bytes(value))
    raise ValueError(f"{name} is no address")


def _data(value: object) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise ValueError("data of a transaction are neither bytes nor 0x text")
