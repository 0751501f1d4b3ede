"""Signed transactions and messages are those that eth-account makes, and only ever the right account's."""

from __future__ import annotations

import hashlib

import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.accounts import TypedDomain, VaultSigner, typed_digest
from marina.errors import DamagedError
from marina.ids import Account, account_text
from storage.identity.typed_data import account_of_key, recover, sign_digest

KEY = hashlib.sha256(b"a test account").digest()
OTHER = hashlib.sha256(b"another test account").digest()
TO = Account(b"\x11" * 20)
DOMAIN = TypedDomain("marina", "1", 31337, Account(b"\x22" * 20))
FIELDS = {
    "chainId": 31337,
    "nonce": 7,
    "gas": 112_000,
    "maxFeePerGas": 30 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "to": TO,
    "value": 5,
    "data": b"\x01\x02",
}


class KeySigner:
    """A digest signer over a bare key."""

    def __init__(self, key: bytes, account: Account | None = None) -> None:
        self._key = key
        self.account = account or account_of_key(key)

    def sign_digest(self, digest: bytes) -> bytes:
        return sign_digest(self._key, digest)


@pytest.fixture
def signer() -> VaultSigner:
    return VaultSigner(KeySigner(KEY))


def eth_account_signs(fields: dict[str, object]) -> bytes:
    plain = {**fields, "type": 2}
    if plain.get("to") is None:
        plain.pop("to", None)
    return bytes(EthAccount.sign_transaction(plain, KEY).raw_transaction)


@settings(max_examples=40, deadline=None)
@given(
    nonce=st.integers(0, 2**64 - 1),
    value=st.integers(0, 2**256 - 1),
    gas=st.integers(0, 2**64 - 1),
    tip=st.integers(0, 2**96),
    more=st.integers(0, 2**96),
    data=st.binary(max_size=200),
    to=st.none() | st.binary(min_size=20, max_size=20),
)
def test_signed_transactions_are_byte_for_byte_those_of_eth_account(nonce, value, gas, tip, more, data, to):
    fields = {
        "chainId": 137,
        "nonce": nonce,
        "value": value,
        "gas": gas,
        "maxPriorityFeePerGas": tip,
        "maxFeePerGas": tip + more,
        "data": data,
        "to": to,
    }
    raw = VaultSigner(KeySigner(KEY)).sign_transaction(fields)
    assert raw == eth_account_signs(fields)
    assert EthAccount.recover_transaction(raw) == account_text(account_of_key(KEY))


def test_hexadecimal_fields_of_web3_are_taken(signer):
    typed = {
        **FIELDS,
        "to": account_text(TO),
        "data": "0x0102",
        "type": "0x2",
        "from": account_text(signer.account),
    }
    assert signer.sign_transaction(typed) == signer.sign_transaction(FIELDS)


def test_an_access_list_is_signed(signer):
    fields = {**FIELDS, "accessList": [{"address": account_text(TO), "storageKeys": ["0x" + "01" * 32]}]}
    assert signer.sign_transaction(fields) == eth_account_signs(fields)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gasPrice": 1}, "has no"),
        ({"type": 0}, "type 2"),
        ({"chainId": 0}, "every chain"),
        ({"nonce": -1}, "nonce"),
        ({"nonce": True}, "nonce"),
        ({"gas": 2**64}, "gas"),
        ({"value": 2**256}, "value"),
        ({"value": 1.5}, "value"),
        ({"maxPriorityFeePerGas": 31 * 10**9}, "tip"),
        ({"to": b"\x01" * 19}, "to is no address"),
        ({"to": "0x12"}, "to is no address"),
        ({"data": "0102"}, "neither bytes"),
        ({"data": "0xzz"}, "non-hexadecimal"),
        ({"from": TO}, "another account"),
        ({"accessList": [1]}, "no transaction"),
    ],
)
def test_fields_that_are_no_transaction_are_refused(signer, change, reason):
    with pytest.raises(ValueError, match=reason):
        signer.sign_transaction({**FIELDS, **change})


@pytest.mark.parametrize("name", ["chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas"])
def test_a_missing_field_is_named(signer, name):
    with pytest.raises(ValueError, match=name):
        signer.sign_transaction({key: value for key, value in FIELDS.items() if key != name})


def test_a_signature_of_another_key_never_leaves():
    signer = VaultSigner(KeySigner(OTHER, account_of_key(KEY)))
    with pytest.raises(DamagedError, match="nothing was sent"):
        signer.sign_transaction(FIELDS)
    with pytest.raises(DamagedError, match="does not sign for"):
        signer.sign_digest(bytes(32))


def test_a_permit_is_the_one_of_eth_account(signer):
    token = TypedDomain("USD Coin", "2", 1, Account(b"\x33" * 20))
    v, r, s = signer.sign_permit(token, spender=TO, value=10**6, nonce=3, deadline_s=1_900_000_000)
    known = EthAccount.sign_typed_data(
        KEY,
        {
            "name": "USD Coin",
            "version": "2",
            "chainId": 1,
            "verifyingContract": account_text(token.contract),
        },
        {
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        },
        {
            "owner": account_text(signer.account),
            "spender": account_text(TO),
            "value": 10**6,
            "nonce": 3,
            "deadline": 1_900_000_000,
        },
    )
    assert (v, r, s) == (known.v, known.r.to_bytes(32), known.s.to_bytes(32))


def test_a_registration_has_the_type_string_of_the_contract(signer):
    from eth_abi import encode
    from eth_hash.auto import keccak

    facts = {
        "salt": b"\x01" * 32,
        "content_digest": b"\x02" * 32,
        "release_id": bytes(32),
        "royalty_bps": 500,
        "splits_hash": b"\x03" * 32,
        "deadline_s": 1_900_000_000,
    }
    signature = signer.sign_registration(DOMAIN, **facts)
    type_hash = keccak(
        b"Register(address artist,bytes32 salt,bytes32 contentDigest,bytes32 releaseId,uint16 royaltyBps,"
        b"bytes32 splitsHash,uint256 deadline)"
    )
    struct = keccak(
        encode(
            ["bytes32", "address", "bytes32", "bytes32", "bytes32", "uint16", "bytes32", "uint256"],
            [type_hash, signer.account, *facts.values()],
        )
    )
    domain = keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak(b"marina"),
                keccak(b"1"),
                31337,
                DOMAIN.contract,
            ],
        )
    )
    assert recover(bytes(keccak(b"\x19\x01" + domain + struct)), signature) == signer.account


def test_typed_digests_of_any_message_are_those_of_eth_account():
    fields = (("text", "string"), ("flag", "bool"), ("blob", "bytes"))
    message = {"text": "Küste", "flag": True, "blob": b"\x00\x01"}
    known = encode_typed_data(
        {
            "name": "marina",
            "version": "1",
            "chainId": 31337,
            "verifyingContract": account_text(DOMAIN.contract),
        },
        {"Note": [{"name": name, "type": kind} for name, kind in fields]},
        message,
    )
    from eth_hash.auto import keccak

    digest = keccak(b"\x19" + known.version + known.header + known.body)
    assert typed_digest(DOMAIN, "Note", fields, message) == digest


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bytes32", b"\x01"),
        ("address", b"\x01" * 21),
        ("uint8", 256),
        ("uint256", -1),
        ("bool", "yes"),
        ("string", 5),
    ],
)
def test_values_that_do_not_fit_their_type_are_refused_not_padded(kind, value):
    with pytest.raises(ValueError):  # noqa: PT011 - each type has its own words
        typed_digest(DOMAIN, "Note", (("field", kind),), {"field": value})


def test_a_message_with_another_field_is_refused(signer):
    with pytest.raises(ValueError, match="exactly the fields"):
        signer.sign_typed(DOMAIN, "Note", (("a", "uint8"),), {"b": 1})
