"""One key request and what its answer is worth: made, signed, read and checked, without any waiting."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.errors import DamagedError, MalformedError
from marina.ids import Account
from marina.secret import Secret
from marina.signing import Signer
from p2p.wire.key import Grant, KeyRequest, Refusal, decode_answer, encode_request, request_digest
from storage.content.envelope import open_envelope
from storage.content.guarded import fits, scope_of
from storage.content.keybox import Keybox
from storage.content.keys import KeyName, check_commitment

DELEGATE_X = 0
"""The coordinate under which a delegate releases the whole key."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who can release a key.

    Attributes:
        peer_key: Ed25519 key.
        x: of its share; 0 for a delegate, who has the whole key.
    """

    peer_key: bytes
    x: int


@dataclass(frozen=True, slots=True)
class Asker:
    """In whose name keys are asked for.

    Attributes:
        account: who has the licence.
        signer: this device.
        binding: returns the encoded binding of the device to the account.
    """

    account: Account
    signer: Signer
    binding: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Released:
    """A share, or the whole key from a delegate, that fits.

    Attributes:
        secret: 33 bytes of a share, 32 of a key.
        block: number of the block that the holder read.
        guardian_time_s: the holder's Unix seconds.
    """

    secret: Secret[bytes]
    block: int
    guardian_time_s: int


@dataclass(frozen=True, slots=True)
class BadAnswer:
    """An answer that is none.

    Attributes:
        why: one sentence.
        is_signed: whether the holder signed it: then it proves the fault to anybody.
    """

    why: str
    is_signed: bool


class Asked:
    """One request to one holder; its one-time key opens this one answer."""

    def __init__(
        self,
        asker: Asker,
        binding: bytes,
        box: Keybox,
        box_bytes: bytes,
        holder: Holder,
        *,
        time_s: int,
        licence_block: int,
    ) -> None:
        """Make and sign the request.

        Args:
            asker: in whose name.
            binding: of this device.
            box: the anchored keybox.
            box_bytes: its block, which travels along: guardians keep nothing.
            holder: who is asked.
            time_s: Unix seconds by the holder's clock.
            licence_block: newest block at which the licence was seen.
        """
        self._eph = X25519PrivateKey.generate()
        self._box = box
        self._holder = holder
        body = KeyRequest(
            chain_id=box.chain_id,
            registry=box.registry,
            track_id=box.track_id,
            tier=box.tier,
            owner=asker.account,
            binding=binding,
            peer=asker.signer.public_key,
            eph=self._eph.public_key().public_bytes_raw(),
            aud=holder.peer_key,
            ts=time_s,
            nonce=secrets.token_bytes(16),
            keybox_digest=box.cid[-32:],
            lic_block=licence_block,
        )
        self.message = encode_request(body, asker.signer, box_bytes)
        self._digest = request_digest(body)

    @property
    def eph_key(self) -> bytes:
        """The one-time private key: shown as evidence, it opens this one answer only."""
        return self._eph.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )

    def read(self, answer: bytes, name: KeyName) -> Released | Refusal | BadAnswer:
        """Return what an answer is worth; never raises."""
        try:
            found = decode_answer(answer)
        except MalformedError as err:
            return BadAnswer(f"it answered with something else than the protocol allows: {err}", False)
        if isinstance(found, Refusal):
            return found
        if not isinstance(found, Grant):
            return BadAnswer("it answered a key request with a status", False)
        try:
            found.check(self._holder.peer_key)
        except MalformedError:
            return BadAnswer("its answer is not signed by it", False)
        return self._open(found, name)

    def _open(self, found: Grant, name: KeyName) -> Released | BadAnswer:
        grant, holder = found.body, self._holder
        if grant.request_digest != self._digest:
            return BadAnswer("it signed an answer to another request", False)
        if grant.x != holder.x:
            return BadAnswer("it signed an answer with another's share number", True)
        info = scope_of(self._box).release_info(holder.x, self._digest)
        try:
            secret = open_envelope(self._eph, grant.ct, info)
            if holder.x == DELEGATE_X:
                check_commitment(secret, name, self._box.kc)
            elif not fits(self._box, holder.x, secret):
                return BadAnswer("it signed a share that does not fit its commitment", True)
        except (DamagedError, MalformedError):
            return BadAnswer("it signed an answer that does not hold what the keybox commits to", True)
        return Released(secret, grant.block, grant.guardian_time)
