"""Guardians in memory that behave as their kind says, and a keybox that they hold shares of."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.clock import Clock
from marina.ids import Account, derive_track_id
from marina.schema import encode_record
from marina.secret import Secret
from node.keys.asking import Asker
from p2p.errors import PeerGoneError
from p2p.wire.key import (
    Asked,
    Code,
    GrantBody,
    SignedRequest,
    StatusBody,
    decode_asked,
    encode_grant,
    encode_refusal,
    encode_status,
)
from storage.content.envelope import seal
from storage.content.guarded import KeyHolder, guarded_keybox, open_full, open_share, scope_of
from storage.content.keybox import Keybox, parse_keybox
from storage.content.keys import KeyName, key_commitment
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key
from tests.support.peers import seed

CHAIN_ID = 31337
REGISTRY = b"\x52" * 20
KEY = Secret(hashlib.sha256(b"content key").digest())
TRACK = derive_track_id(Account(b"a" * 20), b"s" * 32)
NAME = KeyName(TRACK, 1, 0)
KC = key_commitment(KEY, NAME)


def asker(name: str = "listener", now_s: int = 1_700_000_000) -> Asker:
    """A device that is bound to an account."""
    account_key = Secret(hashlib.sha256(f"account {name}".encode()).digest())
    device = DeviceKey(seed(name))
    binding = encode_record(issue_binding(account_key, device, scopes=DEFAULT_SCOPES, epoch=0, now_s=now_s))
    return Asker(Account(account_of_key(account_key.reveal())), device, lambda: binding)


@dataclass
class Guardian:
    """One guardian or delegate.

    Attributes:
        kind: ``honest``, ``silent``, ``gone``, ``garbage``, ``forger`` (signs with another key), ``liar``
            (signs a wrong share), ``other`` (signs for another request), ``slow``.
        codes: refused with, one after another, before it behaves as its kind says.
        asked: how often it was asked.
        clock_off_s: its clock against ours.
    """

    name: str
    clock: Clock
    kind: str = "honest"
    codes: list[Code] = field(default_factory=list)
    retry_after_s: int = 0
    delay_s: float = 0.002
    asked: int = 0
    clock_off_s: int = 0
    last: SignedRequest | None = None

    def __post_init__(self) -> None:
        self.device = DeviceKey(seed(self.name))
        self.private = X25519PrivateKey.from_private_bytes(seed("hpke " + self.name).reveal())
        self.holder = KeyHolder(self.device.public_key, self.private.public_key().public_bytes_raw())

    async def answer(self, message: bytes) -> bytes:
        self.asked += 1
        await trio.sleep({"silent": 3600.0, "slow": 2.0}.get(self.kind, self.delay_s))
        if self.kind == "gone":
            raise PeerGoneError("gone")
        if self.kind == "garbage":
            return os.urandom(200)
        found = decode_asked(message)
        now_s = self.clock.now_s() + self.clock_off_s
        if self.codes:
            return encode_refusal(self.codes.pop(0), now_s, self.retry_after_s)
        if isinstance(found, Asked):
            return self.status(found, now_s)
        found.check()
        self.last = found
        if abs(found.body.ts - now_s) > 120:
            return encode_refusal(Code.CLOCK, now_s)
        assert found.keybox is not None
        return self.grant(found, parse_keybox(found.keybox), now_s)

    def status(self, found: Asked, now_s: int) -> bytes:
        body = StatusBody(
            self.device.public_key, b"\x01" * 20, self.holder.hpke_key, 0, 7, now_s, found.body.nonce, b"b"
        )
        return encode_status(body, DeviceKey(seed("else")) if self.kind == "forger" else self.device)

    def grant(self, found: SignedRequest, box: Keybox, now_s: int) -> bytes:
        if any(each.delegate == self.device.public_key for each in box.delegates):
            x, secret = 0, open_full(box, self.device.public_key, self.private)
        else:
            x, secret = open_share(box, self.device.public_key, self.private)
        if self.kind == "liar":
            secret = Secret(bytes(len(secret.reveal())))
        digest = bytes(32) if self.kind == "other" else found.digest
        ct = seal(found.body.eph, secret, scope_of(box).release_info(x, digest))
        body = GrantBody(x, ct, 7, b"\x07" * 32, digest, now_s, now_s + 1000)
        return encode_grant(body, DeviceKey(seed("else")) if self.kind == "forger" else self.device)


class Party:
    """Guardians and delegates by their keys: a ``Line`` to them."""

    def __init__(self, guardians: list[Guardian], delegates: tuple[Guardian, ...] = ()) -> None:
        self.guardians = guardians
        self.delegates = delegates
        self.by_key = {each.device.public_key: each for each in (*guardians, *delegates)}

    def box(self, k: int = 3, *, key: Secret[bytes] = KEY, epoch: int = 1) -> Keybox:
        return guarded_keybox(
            NAME, key, KC, chain_id=CHAIN_ID, registry=REGISTRY, epoch=epoch, k=k,
            guardians=[each.holder for each in self.guardians],
            delegates=[each.holder for each in self.delegates], random=os.urandom,
        )  # fmt: skip

    def is_near(self, peer_key: bytes) -> bool:
        return peer_key in self.by_key

    async def ask(self, peer_key: bytes, message: bytes, *, timeout_s: float) -> bytes:
        with trio.move_on_after(timeout_s):
            return await self.by_key[peer_key].answer(message)
        raise PeerGoneError("no answer")
