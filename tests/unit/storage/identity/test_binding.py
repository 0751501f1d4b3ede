"""A binding is accepted only whole, in time, in scope, of this epoch and signed by both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data

from marina.errors import MalformedError
from marina.schema import encode_record
from marina.secret import Secret
from storage.identity.binding import (
    CLOCK_TOLERANCE_S,
    DAY_S,
    DEFAULT_SCOPES,
    VALIDITY_S,
    Scope,
    decode_binding,
    issue_binding,
    verify_binding,
)
from storage.identity.device import DeviceKey
from storage.identity.errors import BindingError
from storage.identity.typed_data import account_of_key, sign_digest

ACCOUNT_KEY = Secret(b"\x11" * 32)
DEVICE = DeviceKey(Secret(b"\x22" * 32))
NOW_S = 1_800_000_000


def issued(**changes):
    options = {"scopes": DEFAULT_SCOPES, "epoch": 3, "now_s": NOW_S, "nonce": b"n" * 16}
    return issue_binding(ACCOUNT_KEY, DEVICE, **{**options, **changes})


def check(binding, **changes):
    return verify_binding(binding, **{"now_s": NOW_S, "peer": DEVICE.public_key, "epoch_min": 3, **changes})


def test_a_fresh_binding_names_its_account():
    assert check(issued(), required_scopes=Scope.SERVE | Scope.PUBLISH) == account_of_key(b"\x11" * 32)


def test_a_binding_survives_its_encoding():
    assert decode_binding(encode_record(issued())) == issued()


def test_a_wallet_that_speaks_eip_712_makes_the_same_signature():
    binding = issued()
    signable = encode_typed_data(
        {"name": "marina", "version": "1"},
        {
            "DeviceBinding": [
                {"name": "owner", "type": "address"},
                {"name": "peerKey", "type": "bytes32"},
                {"name": "scopes", "type": "uint32"},
                {"name": "notBefore", "type": "uint64"},
                {"name": "notAfter", "type": "uint64"},
                {"name": "epoch", "type": "uint64"},
                {"name": "nonce", "type": "bytes16"},
            ]
        },
        {
            "owner": binding.owner,
            "peerKey": binding.peer,
            "scopes": 15,
            "notBefore": NOW_S,
            "notAfter": NOW_S + 90 * 86_400,
            "epoch": 3,
            "nonce": b"n" * 16,
        },
    )
    signed = EthAccount.sign_message(signable, b"\x11" * 32)
    assert bytes(signed.signature) == binding.signature
    assert bytes(signed.message_hash) == binding.digest


def test_every_flipped_bit_is_refused():
    data = encode_record(issued())
    for position in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            with pytest.raises((MalformedError, BindingError)):
                check(decode_binding(bytes(broken)))


def test_every_cut_is_malformed():
    data = encode_record(issued())
    for length in range(len(data)):
        with pytest.raises(MalformedError):
            decode_binding(data[:length])


@pytest.mark.parametrize(
    ("now_s", "is_valid"),
    [
        (NOW_S - CLOCK_TOLERANCE_S - 1, False),
        (NOW_S - CLOCK_TOLERANCE_S, True),
        (NOW_S + VALIDITY_S + CLOCK_TOLERANCE_S, True),
        (NOW_S + VALIDITY_S + CLOCK_TOLERANCE_S + 1, False),
    ],
)
def test_the_window_ends_exactly_one_clock_tolerance_outside(now_s, is_valid):
    if is_valid:
        check(issued(), now_s=now_s)
    else:
        with pytest.raises(BindingError, match=r"check the clocks|ended"):
            check(issued(), now_s=now_s)


def test_a_clock_an_hour_behind_is_named_as_the_cause():
    with pytest.raises(BindingError, match=r"begins in 3600 s: check the clocks"):
        check(issued(), now_s=NOW_S - 3600)


def test_an_older_epoch_is_revoked_and_a_newer_one_is_not():
    check(issued(epoch=4))
    with pytest.raises(BindingError, match="revoked"):
        check(issued(epoch=2))


def test_a_missing_scope_is_named():
    with pytest.raises(BindingError, match="GUARDIAN"):
        check(issued(), required_scopes=Scope.SERVE | Scope.GUARDIAN)


def test_unknown_scope_bits_grant_nothing_known():
    with pytest.raises(BindingError, match="SERVE"):
        check(issued(scopes=Scope(1 << 20)), required_scopes=Scope.SERVE)


def test_a_binding_without_scopes_is_not_issued():
    with pytest.raises(ValueError, match="at least one scope"):
        issued(scopes=Scope(0))


def test_another_device_cannot_show_it():
    with pytest.raises(BindingError, match="another device"):
        check(issued(), peer=b"p" * 32)


def test_a_longer_validity_is_refused_although_both_signed():
    binding = issued()
    longer = replace(binding, not_after=binding.not_after + 1)
    resigned = replace(
        longer,
        signature=sign_digest(b"\x11" * 32, longer.digest),
        counter_signature=DEVICE.sign(longer.digest),
    )
    with pytest.raises(BindingError, match="at most 90 days"):
        check(resigned)


def test_an_account_cannot_bind_a_device_that_did_not_sign():
    thief = DeviceKey(Secret(b"\x33" * 32))
    binding = issued()
    forged = replace(binding, counter_signature=thief.sign(binding.digest))
    with pytest.raises(BindingError, match="both sides"):
        check(forged)


def test_a_device_cannot_bind_itself_to_a_foreign_account():
    other = issue_binding(
        Secret(b"\x44" * 32), DEVICE, scopes=DEFAULT_SCOPES, epoch=3, now_s=NOW_S, nonce=b"n" * 16
    )
    forged = replace(other, owner=account_of_key(b"\x11" * 32))
    resigned = replace(forged, counter_signature=DEVICE.sign(forged.digest))
    with pytest.raises(BindingError, match="not signed by"):
        check(resigned)


def test_renewal_is_due_below_30_days_and_when_the_clock_went_back():
    binding = issued()
    assert not binding.needs_renewal(NOW_S)
    assert not binding.needs_renewal(NOW_S + 60 * DAY_S)
    assert binding.needs_renewal(NOW_S + 60 * DAY_S + 1)
    assert binding.needs_renewal(NOW_S - 3600)


def test_two_bindings_of_the_same_moment_differ():
    assert issued(nonce=None).digest != issued(nonce=None).digest
