"""Digests and signatures equal eth-account's; every malleable or foreign signature is refused."""

from __future__ import annotations

import contextlib

import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.errors import MalformedError
from storage.identity.typed_data import account_of_key, recover, sign_digest, typed_digest

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEYS = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32))
NAMES = st.from_regex(r"[a-z][a-zA-Z0-9]{0,8}", fullmatch=True)


def _typed_values():
    sized_bytes = st.integers(1, 32).flatmap(
        lambda n: st.tuples(st.just(f"bytes{n}"), st.binary(min_size=n, max_size=n))
    )
    sized_uints = st.integers(1, 32).flatmap(
        lambda n: st.tuples(st.just(f"uint{8 * n}"), st.integers(0, 2 ** (8 * n) - 1))
    )
    return st.one_of(
        sized_bytes,
        sized_uints,
        st.tuples(st.just("address"), st.binary(min_size=20, max_size=20)),
        st.tuples(st.just("bool"), st.booleans()),
        st.tuples(st.just("bytes"), st.binary(max_size=70)),
        st.tuples(st.just("string"), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
    )


def _oracle_digest(primary_type, fields, message) -> bytes:
    signable = encode_typed_data(
        full_message={
            "domain": {"name": "marina", "version": "1"},
            "primaryType": primary_type,
            "types": {
                "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}],
                primary_type: [{"name": name, "type": kind} for name, kind in fields],
            },
            "message": message,
        }
    )
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, _typed_values(), min_size=1, max_size=6), KEYS)
def test_digest_and_signature_equal_those_of_eth_account(columns, key):
    fields = tuple((name, kind) for name, (kind, _) in columns.items())
    message = {name: value for name, (_, value) in columns.items()}
    digest = typed_digest("Thing", fields, message)
    assert digest == _oracle_digest("Thing", fields, message)
    signature = sign_digest(key, digest)
    assert signature == bytes(EthAccount.unsafe_sign_hash(digest, key).signature)
    assert recover(digest, signature) == account_of_key(key)
    assert account_of_key(key) == bytes.fromhex(EthAccount.from_key(key).address[2:])


@settings(max_examples=40, deadline=None)
@given(KEYS, st.binary(min_size=32, max_size=32))
def test_the_mirrored_signature_with_a_high_s_is_refused(key, digest):
    signature = sign_digest(key, digest)
    high = ORDER - int.from_bytes(signature[32:64])
    mirrored = signature[:32] + high.to_bytes(32) + bytes((55 - signature[64],))
    with pytest.raises(MalformedError, match="low s"):
        recover(digest, mirrored)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=70))
def test_arbitrary_bytes_recover_an_account_or_are_malformed(signature):
    with contextlib.suppress(MalformedError):
        assert len(recover(b"d" * 32, signature)) == 20


@pytest.mark.parametrize("r", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_an_r_outside_the_group_is_malformed(r):
    with pytest.raises(MalformedError):
        recover(b"d" * 32, r.to_bytes(32) + (1).to_bytes(32) + b"\x1b")


@pytest.mark.parametrize("v", [0, 1, 26, 29, 30, 37, 255])
def test_only_27_and_28_end_a_signature(v):
    signature = sign_digest(b"k" * 32, b"d" * 32)
    with pytest.raises(MalformedError, match="27 or 28"):
        recover(b"d" * 32, signature[:64] + bytes((v,)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", 256),
        ("uint8", -1),
        ("uint8", True),
        ("uint7", 1),
        ("uint264", 1),
        ("bytes33", b"x" * 33),
        ("bytes4", b"abc"),
        ("address", b"a" * 19),
        ("bool", 1),
        ("string", b"text"),
        ("uint8[]", 1),
        ("Other", b""),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused(kind, value):
    with pytest.raises(ValueError, match="does not fit"):
        typed_digest("Thing", (("field", kind),), {"field": value})


def test_a_message_with_missing_or_extra_fields_is_refused():
    for message in ({}, {"a": 1, "b": 2}):
        with pytest.raises(ValueError, match="exactly the fields"):
            typed_digest("Thing", (("a", "uint8"),), message)
