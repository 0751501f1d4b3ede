"""A judge over a memory chain, a keybox that it holds a share of, and a device with a licence."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chain.key_facts import KeyFacts
from marina.cid import RAW, cid_of
from marina.clock import ManualClock
from marina.ids import Account
from marina.schema import encode_record
from marina.secret import Secret
from node.guardian.former import Former
from node.guardian.judge import Judge
from node.guardian.release_log import ReleaseLog
from p2p.wire.key import Grant, KeyRequest, Refusal, StatusAnswer, decode_answer, encode_request
from storage.content.envelope import open_envelope
from storage.content.guarded import KeyHolder, fits, guarded_keybox, scope_of
from storage.content.keybox import Keybox
from storage.errors import VaultLockedError
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key
from storage.kv import MemoryKv
from tests.support.guardians import CHAIN_ID, KC, KEY, NAME, REGISTRY, TRACK
from tests.support.key_chain import NOTHING, NOW_S, MemoryKeyChain
from tests.support.peers import seed

LICENCE = b"\x4c" * 32
DAY_S = 86_400


class Home:
    """Whose guardian it is.

    Attributes:
        is_locked: whether the vault is.
    """

    def __init__(self, name: str) -> None:
        self.signer = DeviceKey(seed(name))
        self.account = Account(account_of_key(hashlib.sha256(name.encode()).digest()))
        self.private = X25519PrivateKey.from_private_bytes(seed("hpke " + name).reveal())
        self.is_locked = False

    @property
    def holder(self) -> KeyHolder:
        """As an artist names it."""
        return KeyHolder(self.signer.public_key, self.private.public_key().public_bytes_raw())

    def key(self) -> X25519PrivateKey:
        """Return the key that opens shares."""
        if self.is_locked:
            raise VaultLockedError("the vault is locked")
        return self.private

    def binding(self) -> bytes:
        """Return the device's binding."""
        secret = Secret(hashlib.sha256(self.signer.public_key).digest())
        return encode_record(issue_binding(secret, self.signer, scopes=DEFAULT_SCOPES, epoch=0, now_s=NOW_S))


class KeyRig:
    """One guardian, and everything that a request to it needs.

    Attributes:
        judge: what is tested.
        chain: what it asks.
        box: anchored keybox; the guardian's share is the second.
    """

    def __init__(self, *, is_delegate: bool = False, not_before: int = 0, **options: Any) -> None:
        self.clock = ManualClock(NOW_S)
        self.home = Home("the guardian")
        others = [Home(f"guardian {number}") for number in range(6)]
        named = [others[0].holder, self.home.holder, *(each.holder for each in others[1:])]
        self.box = guarded_keybox(
            NAME, KEY, KC, chain_id=CHAIN_ID, registry=REGISTRY, epoch=3, k=3, random=os.urandom,
            guardians=named[:1] + named[2:] if is_delegate else named,
            delegates=[self.home.holder] if is_delegate else [], not_before=not_before,
        )  # fmt: skip
        self._box_bytes = self.box.to_bytes()
        self.account_key = Secret(hashlib.sha256(b"the buyer").digest())
        self.owner = Account(account_of_key(self.account_key.reveal()))
        self.device = DeviceKey(seed("the buyer's device"))
        self.binding = self.bound()
        self.chain = MemoryKeyChain(CHAIN_ID, REGISTRY)
        self.store = options.pop("store", None) or MemoryKv()
        self.log = ReleaseLog(self.store)
        self.former: Former | None = None
        self.judge = Judge(
            holder=self.home, chain=lambda: self.chain, releases=self.log, clock=self.clock,
            former=self._former, **options,
        )  # fmt: skip
        self.facts = replace(
            NOTHING, is_registered=True, licence_id=LICENCE, from_s=NOW_S - DAY_S, to_s=NOW_S + 30 * DAY_S,
            keybox_digest=digest_of(self.box), keybox_epoch=3,
        )  # fmt: skip
        self.say()

    async def _former(self, track: object, tier: int, digest: bytes) -> Former | None:
        return self.former if self.former is not None and self.former.digest == digest else None

    def say(self, *, block: int = 1, **changes: Any) -> KeyFacts:
        """Let the chain tell other facts from now on."""
        self.facts = replace(self.facts, **changes)
        self.chain.set(TRACK, self.owner, 1, self.facts, block=block)
        return self.facts

    def bound(self, **changes: Any) -> bytes:
        """Return the binding of the buyer's device, or one that differs."""
        given = {"scopes": DEFAULT_SCOPES, "epoch": 0, "now_s": NOW_S, **changes}
        device = given.pop("device", self.device)
        return encode_record(issue_binding(given.pop("key", self.account_key), device, **given))

    def request(
        self, *, box: Keybox | bytes | None = None, signer: DeviceKey | None = None, **changes: Any
    ) -> bytes:
        """Return a signed request, right but for the changes."""
        data = self._box_bytes if box is None else box if isinstance(box, bytes) else box.to_bytes()
        body = KeyRequest(
            chain_id=CHAIN_ID, registry=REGISTRY, track_id=TRACK, tier=1, owner=self.owner,
            binding=self.binding, peer=self.device.public_key,
            eph=EPHEMERAL.public_key().public_bytes_raw(), aud=self.home.signer.public_key, ts=NOW_S,
            nonce=os.urandom(16), keybox_digest=cid_of(data, RAW)[-32:], lic_block=1,
        )  # fmt: skip
        return encode_request(replace(body, **changes), signer or self.device, data)

    async def ask(self, message: bytes, *, peer: bytes | None = None) -> Grant | Refusal | StatusAnswer:
        """Return the decoded answer."""
        return decode_answer(await self.judge.answer(message, peer or self.device.public_key, ""))

    def share_in(self, found: Grant) -> bool:
        """Return whether a grant holds the guardian's true share."""
        found.check(self.home.signer.public_key)
        info = scope_of(self.box).release_info(found.body.x, found.body.request_digest)
        return fits(self.box, found.body.x, open_envelope(EPHEMERAL, found.body.ct, info))


EPHEMERAL = X25519PrivateKey.from_private_bytes(seed("one-time").reveal())


def digest_of(box: Keybox) -> bytes:
    """Return what a chain anchors."""
    return box.cid[-32:]
