"""What is checked before a share or key leaves this node, cheapest first; bytes in, bytes out.

Source: design, security §1.7; docs/protocol/key-release.md numbers the steps the same way. Nothing about
who asked for what is logged. Every refusal says a code and nothing else: there is no oracle in it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from chain.key_facts import INCLUDED, KeyFacts
from marina.cid import RAW, cid_of
from marina.clock import Clock
from marina.errors import DamagedError, MalformedError, MarinaError, NotFoundError
from marina.ids import Account, TrackId
from marina.secret import Secret
from node.guardian.collaborators import Chain, Holder
from node.guardian.former import Former
from node.guardian.heard import Heard
from node.guardian.release_log import Release, ReleaseLog
from p2p.wire.key import (
    Asked,
    Code,
    GrantBody,
    KeyRequest,
    SignedRequest,
    StatusBody,
    decode_asked,
    encode_grant,
    encode_refusal,
    encode_status,
)
from storage.content.envelope import KeyScope, seal
from storage.content.guarded import open_full, open_share
from storage.content.keybox import Keybox, parse_keybox
from storage.errors import StorageError, VaultLockedError
from storage.identity.binding import (
    DeviceBinding,
    Scope,
    check_counter_signature,
    check_rules,
    check_signatures,
    decode_binding,
)
from storage.identity.errors import BindingError

CLOCK_S_MAX = 120
_KEYBOXES_MAX = 256
DEVICES_MAX = 6
LEASE_S = 30 * 86_400
FOREVER_S = 2**64 - 1
DELEGATE_X = 0
_BUSY_S = 5
READ_S = 8.0
"""For all that one answer reads of the chain. Listeners wait three; what was read serves their next try."""
READS_MAX = 64
"""At a time, over all peers; others wait their turn, and not for longer than that."""


class _RefusedError(Exception):
    def __init__(self, code: Code, retry_after_s: int = 0) -> None:
        self.code = code
        self.retry_after_s = retry_after_s


class Judge:
    """Answers the messages of the key protocol.

    Attributes:
        counts: answers by what became of them: ``granted``, ``status``, or the name of a code.
    """

    def __init__(
        self,
        *,
        holder: Holder,
        chain: Callable[[], Chain],
        releases: ReleaseLog,
        clock: Clock,
        admits: Callable[[bytes, str], bool] = lambda _peer, _origin: True,
        seen: Callable[[str], None] = lambda _outcome: None,
        former: Callable[[TrackId, int, bytes], Awaitable[Former | None]],
    ) -> None:
        """Take the collaborators.

        Args:
            holder: whose shares these are.
            chain: returns the chain; NetworkError or UsageError while there is none.
            releases: where each release is written down before it leaves.
            clock: wall clock for freshness, monotonic for what is forgotten.
            admits: takes (peer key, origin) and says whether it may ask again already.
            seen: takes what became of each message.
            former: returns a tier's keybox that was replaced, by its digest; None if there was none.
        """
        self._holder = holder
        self._chain = chain
        self._releases = releases
        self._clock = clock
        self._admits = admits
        self._seen = seen
        self._former = former
        self._heard = Heard(clock=clock)
        self._turns = trio.CapacityLimiter(READS_MAX)
        self._keyboxes: OrderedDict[bytes, bytes] = OrderedDict()
        self.counts: Counter[str] = Counter()

    async def answer(self, message: bytes, peer_key: bytes, origin: str) -> bytes:
        """Return the answer to a message.

        Args:
            message: at most a frame.
            peer_key: Ed25519 key of the peer that the connection's handshake proved.
            origin: where it comes from, as far as rates are concerned.
        """
        try:
            asked = decode_asked(message)
            if isinstance(asked, Asked):
                made, outcome = await self._status(asked, peer_key, origin), "status"
            else:
                made, outcome = await self._grant(asked, peer_key, origin), "granted"
        except _RefusedError as err:
            outcome = err.code.name.lower()
            made = encode_refusal(err.code, self._clock.now_s(), err.retry_after_s)
        except MalformedError:
            outcome = Code.MALFORMED.name.lower()
            made = encode_refusal(Code.MALFORMED, self._clock.now_s())
        self.counts[outcome] += 1
        self._seen(outcome)
        return made

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """Read the chain, one of a few and not for long: slow endpoints must not let requests pile up.

        What needs no chain was checked before, and what is granted then is not cut off.
        """
        with trio.move_on_after(READ_S) as scope:
            async with self._turns:
                yield
        if scope.cancelled_caught:
            raise _RefusedError(Code.CHAIN_UNAVAILABLE, _BUSY_S)

    async def _grant(self, asked: SignedRequest, peer_key: bytes, origin: str) -> bytes:
        body, chain = asked.body, self._usable_chain()
        self._check_addressed(asked, peer_key, chain)
        self._check_rate(peer_key, origin)
        try:
            asked.check()
        except MalformedError as err:
            raise _RefusedError(Code.SIGNATURE) from err
        self._heard.note(body.peer + body.nonce)
        binding, is_unsigned = self._checked_binding(body)
        try:
            async with self._reading():
                facts = await self._final_facts(chain, body)
                await self._check_owner(chain, binding, facts, is_unsigned=is_unsigned)
                box, scope = await self._checked_keybox(asked, facts)
        except MarinaError as err:  # endpoints that are silent, of two minds, refuse, or of another chain
            raise _RefusedError(Code.CHAIN_UNAVAILABLE, _BUSY_S) from err
        self._check_licence(facts, box)
        x, secret = self._opened(box)
        sealed = seal(body.eph, secret, scope.release_info(x, asked.digest))
        now_s, block = self._clock.now_s(), facts.block
        release = Release(facts.licence_id or b"", body.peer, now_s, block.number, block.hash)
        try:
            if not await self._releases.admit(release, devices_max=DEVICES_MAX):
                raise _RefusedError(Code.DEVICE_CAP)
        except StorageError as err:  # what is not written down does not leave
            raise _RefusedError(Code.RATE, _BUSY_S) from err
        grant = GrantBody(
            x=x,
            ct=sealed,
            block=block.number,
            block_hash=block.hash,
            request_digest=asked.digest,
            guardian_time=now_s,
            lease_until=min(facts.to_s, now_s + LEASE_S),
        )
        return encode_grant(grant, self._holder.signer)

    async def _status(self, asked: Asked, peer_key: bytes, origin: str) -> bytes:
        body, chain = asked.body, self._usable_chain()
        if (body.chain_id, body.registry) != (chain.chain_id, chain.registry):
            raise _RefusedError(Code.UNSUPPORTED)
        if body.aud != self._holder.signer.public_key:
            raise _RefusedError(Code.WRONG_AUDIENCE)
        self._check_rate(peer_key, origin)
        code = 0
        number = 0
        try:
            async with self._reading():
                block = await chain.block()
            number = block.number
            if asked.keybox is not None:
                box = self._status_keybox(asked.keybox, body.keybox_digest, chain)
                self._opened(box)
                self._check_day(box, block.time_s)
        except MarinaError:
            code = int(Code.CHAIN_UNAVAILABLE)
        except _RefusedError as err:
            code = int(err.code)
        try:
            hpke_key = self._holder.key().public_key().public_bytes_raw()
        except VaultLockedError as err:
            raise _RefusedError(Code.CHAIN_UNAVAILABLE, _BUSY_S) from err
        status = StatusBody(
            peer=self._holder.signer.public_key,
            account=self._holder.account,
            hpke_key=hpke_key,
            code=code,
            block=number,
            guardian_time=self._clock.now_s(),
            nonce=body.nonce,
            binding=self._holder.binding(),
        )
        return encode_status(status, self._holder.signer)

    def _usable_chain(self) -> Chain:
        try:
            return self._chain()
        except MarinaError as err:
            raise _RefusedError(Code.CHAIN_UNAVAILABLE, _BUSY_S) from err

    def _check_addressed(self, asked: SignedRequest, peer_key: bytes, chain: Chain) -> None:
        """Step 2: for this chain, for this guardian, from this peer, now, and for the first time."""
        body = asked.body
        if (body.chain_id, body.registry) != (chain.chain_id, chain.registry) or body.tier not in (1, 2):
            raise _RefusedError(Code.UNSUPPORTED)
        if body.aud != self._holder.signer.public_key:
            raise _RefusedError(Code.WRONG_AUDIENCE)
        if body.peer != peer_key:
            raise _RefusedError(Code.WRONG_PEER)
        if abs(body.ts - self._clock.now_s()) > CLOCK_S_MAX:
            raise _RefusedError(Code.CLOCK)
        if asked.keybox is not None and cid_of(asked.keybox, RAW)[-32:] != body.keybox_digest:
            raise _RefusedError(Code.KEYBOX_MISMATCH)
        if self._heard.knows(body.peer + body.nonce):
            raise _RefusedError(Code.RATE, _BUSY_S)

    def _check_rate(self, peer_key: bytes, origin: str) -> None:
        """Step 3."""
        if not self._admits(peer_key, origin):
            raise _RefusedError(Code.RATE, _BUSY_S)

    def _checked_binding(self, body: KeyRequest) -> tuple[DeviceBinding, bool]:
        """Step 5: the account lets this device ask; return whether its signature is still to be judged."""
        try:
            binding = decode_binding(body.binding)
            if binding.owner != body.owner:
                raise _RefusedError(Code.BINDING)
            now_s = self._clock.now_s()
            check_rules(binding, now_s=now_s, peer=body.peer, required_scopes=Scope.KEY_REQUEST)
            check_counter_signature(binding)
        except (BindingError, MalformedError) as err:
            raise _RefusedError(Code.BINDING) from err
        try:
            check_signatures(binding)
        except BindingError:
            return binding, True
        return binding, False

    async def _check_owner(
        self, chain: Chain, binding: DeviceBinding, facts: KeyFacts, *, is_unsigned: bool
    ) -> None:
        """Step 5, the part that the chain knows: revoked devices, and accounts that are contracts."""
        if binding.epoch < facts.binding_epoch:
            raise _RefusedError(Code.BINDING)
        if is_unsigned:
            owner = Account(binding.owner)
            if not await chain.accepts(owner, binding.digest, binding.signature, facts.block):
                raise _RefusedError(Code.BINDING)

    async def _final_facts(self, chain: Chain, body: KeyRequest) -> KeyFacts:
        """Step 6, first half: what the chain says at a block that the artist's policy takes."""
        track, owner = TrackId(body.track_id), Account(body.owner)
        facts = await chain.facts(track, owner, body.tier, await chain.block(seen=body.lic_block))
        if facts.finality == INCLUDED or not facts.is_licensed:
            return facts
        final = await chain.facts(track, owner, body.tier, await chain.block(facts.finality))
        if not final.is_licensed:
            raise _RefusedError(Code.NOT_FINAL, _BUSY_S)
        # What gives waits until it is final; what takes away holds as soon as it is seen.
        return replace(
            final,
            is_blocked=final.is_blocked or facts.is_blocked,
            binding_epoch=max(final.binding_epoch, facts.binding_epoch),
            # After a reissue listeners bring the new keybox at once: it gives nobody a right.
            keybox_digest=facts.keybox_digest,
            keybox_epoch=facts.keybox_epoch,
        )

    async def _checked_keybox(self, asked: SignedRequest, facts: KeyFacts) -> tuple[Keybox, KeyScope]:
        """Step 6, second half: the anchored keybox, or one that was replaced within a day."""
        body = asked.body
        block = asked.keybox if asked.keybox is not None else self._keyboxes.get(body.keybox_digest)
        if not facts.is_registered or facts.keybox_digest is None or block is None:
            raise _RefusedError(Code.KEYBOX_MISMATCH)
        digest = body.keybox_digest  # of the block: that was checked first
        epoch = facts.keybox_epoch
        if digest != facts.keybox_digest:
            former = await self._former(TrackId(body.track_id), body.tier, digest)
            if former is None or facts.block.time_s > former.until_s:
                raise _RefusedError(Code.KEYBOX_MISMATCH)
            epoch = former.epoch
        scope = KeyScope(body.chain_id, body.registry, TrackId(body.track_id), body.tier, epoch)
        try:
            box = parse_keybox(block)
        except MalformedError as err:
            raise _RefusedError(Code.KEYBOX_MISMATCH) from err
        named = KeyScope(box.chain_id, box.registry, box.track_id, box.tier, box.epoch)
        if named != scope:
            raise _RefusedError(Code.KEYBOX_MISMATCH)
        self._keyboxes[digest] = block
        if len(self._keyboxes) > _KEYBOXES_MAX:
            self._keyboxes.popitem(last=False)
        return box, scope

    def _check_licence(self, facts: KeyFacts, box: Keybox) -> None:
        if facts.is_blocked:
            raise _RefusedError(Code.TRACK_BLOCKED)
        if not facts.is_licensed:
            raise _RefusedError(Code.NO_LICENCE)
        self._check_day(box, facts.block.time_s)

    def _check_day(self, box: Keybox, time_s: int) -> None:
        wait_s = box.not_before - time_s
        if wait_s > 0:
            raise _RefusedError(Code.NOT_FINAL, min(wait_s, 2**16 - 1))

    def _opened(self, box: Keybox) -> tuple[int, Secret[bytes]]:
        """Step 7: this guardian's share, or the whole key if it is a delegate."""
        mine = self._holder.signer.public_key
        try:
            key = self._holder.key()
            if any(each.guardian == mine for each in box.shares):
                return open_share(box, mine, key)
            return DELEGATE_X, open_full(box, mine, key)
        except (NotFoundError, DamagedError) as err:
            raise _RefusedError(Code.NOT_MY_SHARE) from err
        except VaultLockedError as err:
            raise _RefusedError(Code.CHAIN_UNAVAILABLE, _BUSY_S) from err

    def _status_keybox(self, block: bytes, digest: bytes, chain: Chain) -> Keybox:
        try:
            box = parse_keybox(block)
        except MalformedError as err:
            raise _RefusedError(Code.KEYBOX_MISMATCH) from err
        if cid_of(block, RAW)[-32:] != digest or (box.chain_id, box.registry) != (
            chain.chain_id,
            chain.registry,
        ):
            raise _RefusedError(Code.KEYBOX_MISMATCH)
        return box
