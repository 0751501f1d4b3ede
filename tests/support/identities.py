"""Accounts and devices for tests: the same for the same name."""

from __future__ import annotations

import hashlib

from marina.clock import SystemClock
from marina.ids import Account
from marina.schema import encode_record
from marina.secret import Secret
from p2p.replication.client import Identity
from storage.identity.binding import DEFAULT_SCOPES, Scope, decode_binding, issue_binding, verify_binding
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key
from tests.support.peers import seed


def identity(name: str, account_name: str | None = None) -> Identity:
    """A device bound to an account of its own, or to that of another name."""
    key = Secret(hashlib.sha256(f"account {account_name or name}".encode()).digest())
    device = DeviceKey(seed(name))
    now_s = SystemClock().now_s() - 10
    binding = encode_record(issue_binding(key, device, scopes=DEFAULT_SCOPES, epoch=0, now_s=now_s))

    def check(data: bytes, peer: bytes) -> Account:
        now_s = SystemClock().now_s()
        return verify_binding(decode_binding(data), now_s=now_s, peer=peer, required_scopes=Scope.SERVE)

    return Identity(Account(account_of_key(key.reveal())), device, lambda: binding, check)
