"""The operator's side: answers artists, fetches what it pledged, lets go when a pledge ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import Cid, cid_text
from marina.clock import Clock
from marina.errors import MalformedError, MarinaError
from marina.ids import Account, PeerId
from marina.ratelimit import TokenBucket
from marina.schema import encode_record
from p2p.denylist import DeniedError, Denylist
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.peerkey import key_of_peer
from p2p.replication.client import Identity
from p2p.replication.pledges import Kept, PledgeBook, PledgePolicy
from p2p.stream import MarinaStream
from p2p.wire.pledge import (
    PROTOCOL,
    Answer,
    Ask,
    Kind,
    Offer,
    Pledge,
    PledgeReply,
    PledgeRequest,
    Progress,
    decode_request,
    open_vouched,
    vouch,
)

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

OFFER_S = 600
_HEADER_BYTES_MAX = 128
_PEERS_LIMITED_MAX = 1024


class ReplicaStore(Protocol):
    """What the node does with releases on behalf of pledges."""

    def free_bytes(self) -> int:
        """Return what the disk quota leaves for new content."""
        ...

    async def check_denied(self, release: Cid, source: PeerId) -> None:
        """Read the release's manifests from ``source`` and compare what they name with the denylist.

        Raises:
            DeniedError: the release, a track or a rendition is denied.
            MarinaError: the manifests are not to be had, or are wrong.
        """
        ...

    async def fetch(
        self, release: Cid, source: PeerId, size_bytes: int, report: Callable[[int], None]
    ) -> None:
        """Fetch, verify and pin a whole release, and put its roots on the announcement schedule.

        Continues where an earlier call stopped. ``source`` asked for it and has it; others may too.
        ``report`` is called with the verified bytes so far.

        Raises:
            MarinaError: it is denied, larger than ``size_bytes``, or nobody delivers it now.
        """
        ...

    async def drop(self, release: Cid) -> None:
        """Unpin a release whose pledge has ended and stop announcing it."""
        ...


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """Limits of the operator's side.

    Attributes:
        requests_per_s, requests_burst: requests of one peer.
        streams_per_peer_max: of this protocol.
        request_s: a request must be here within this.
        manifest_s: the manifests of a release that is asked for must be here within this.
        parallel: releases fetched at once.
        retry_s: pause after a fetch that failed.
        check_every_s: how often ended pledges are looked for.
    """

    requests_per_s: float = 1.0
    requests_burst: float = 20.0
    streams_per_peer_max: int = 4
    request_s: float = 8.0
    manifest_s: float = 6.0
    parallel: int = 2
    retry_s: float = 30.0
    check_every_s: float = 60.0


class Operator:
    """Serves /marina/pledge/1.0.0 and keeps what it pledges."""

    def __init__(
        self,
        *,
        host: Host,
        identity: Identity,
        book: PledgeBook,
        store: ReplicaStore,
        policy: Callable[[], PledgePolicy],
        denylist: Denylist,
        clock: Clock,
        rng: Random,
        config: OperatorConfig | None = None,
    ) -> None:
        self._host = host
        self._identity = identity
        self._book = book
        self._store = store
        self._policy = policy
        self._denylist = denylist
        self._clock = clock
        self._rng = rng
        self._config = config or OperatorConfig()
        self._limits: dict[PeerId, TokenBucket] = {}
        self._not_before_s: dict[Cid, float] = {}
        self._active: dict[Cid, trio.CancelScope] = {}
        self._changed = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer and keep until cancelled; started once the book is read."""
        await self._book.load()
        self._host.serve(PROTOCOL, self._answer, max_streams_per_peer=self._config.streams_per_peer_max)
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await self._let_go()
                    self._start_fetches(nursery)
                    changed = self._changed
                    with trio.move_on_after(self._pause_s()):
                        await changed.wait()
        finally:
            self._host.stop_serving(PROTOCOL)

    def offer(self) -> Offer:
        """Return what this operator offers now, for a direct answer or for gossip."""
        policy, now_s = self._policy(), self._clock.now_s()
        return Offer(
            account=self._identity.account,
            peer=self._identity.signer.public_key,
            free_bytes=self._book.free_bytes(policy, self._store.free_bytes()),
            release_bytes_max=policy.release_bytes_max,
            pledge_s_max=policy.pledge_s_max,
            issued=now_s,
            expires=now_s + OFFER_S,
        )

    async def cancel(self, release: Cid) -> None:
        """End a pledge on the operator's word: stop fetching, unpin, forget."""
        scope = self._active.get(release)
        if scope is not None:
            scope.cancel()
        await self._book.end(release)
        await self._store.drop(release)

    async def _answer(self, stream: MarinaStream) -> None:
        config = self._config
        reader = FrameReader(stream, header_bytes_max=_HEADER_BYTES_MAX, frame_timeout_s=config.request_s)
        header = await reader.header(config.request_s)
        if header is None:
            return
        request = decode_request(header)
        payload = await reader.payload(request.length) if request.length else b""
        if not self._within_rate(stream.peer):
            await self._reply(stream, Answer.BUSY)
        elif request.kind == Kind.OFFER:
            await self._answer_offer(stream)
        elif request.kind == Kind.ASK:
            await self._answer_ask(stream, payload)
        else:
            await self._answer_status(stream, request)

    async def _answer_offer(self, stream: MarinaStream) -> None:
        if not self._policy().is_open:
            await self._reply(stream, Answer.NOT_OFFERED)
            return
        await self._reply(stream, Answer.OK, self._vouch(self.offer()))

    async def _answer_ask(self, stream: MarinaStream, payload: bytes) -> None:
        try:
            ask = open_vouched(Ask, payload, self._identity.check_binding)
        except MalformedError:
            raise
        except MarinaError as err:
            log.info("an ask was refused: %s", err)
            await self._reply(stream, Answer.NOT_YOURS)
            return
        if ask.peer != key_of_peer(stream.peer) or ask.operator != self._identity.signer.public_key:
            raise MalformedError("the ask is another device's, or meant for another operator")
        release = Cid(ask.release_cid)
        answer = await self._decide(ask, stream.peer)
        if answer is not Answer.OK:
            await self._reply(stream, answer)
            return
        kept = await self._book.pledge(ask, stream.peer)
        pledge = Pledge(
            account=self._identity.account,
            peer=self._identity.signer.public_key,
            release_cid=release,
            bytes=kept.size_bytes,
            until=kept.until,
            nonce=ask.nonce,
        )
        await self._reply(stream, Answer.OK, self._vouch(pledge))
        self._wake()

    async def _decide(self, ask: Ask, source: PeerId) -> Answer:
        """Return OK if this operator pledges; what costs nothing to know is looked at first."""
        release = Cid(ask.release_cid)
        if self._denylist.reason(cids=[release], account=Account(ask.account)):
            return Answer.DENIED
        answer = self._book.decide(ask, self._policy(), self._store.free_bytes())
        if answer is not Answer.OK or not len(self._denylist):
            return answer
        # An ask names a manifest and an account; what else the list denies shows in the manifests.
        try:
            with trio.fail_after(self._config.manifest_s):
                await self._store.check_denied(release, source)
        except DeniedError:
            return Answer.DENIED
        except (MarinaError, trio.TooSlowError) as err:
            context = {"release": cid_text(release), "cause": str(err)[:200] or "too slow"}
            log.info("an ask was put off: its manifests were not to be had", extra={"context": context})
            return Answer.BUSY
        # Meanwhile others may have asked.
        return self._book.decide(ask, self._policy(), self._store.free_bytes())

    async def _answer_status(self, stream: MarinaStream, request: PledgeRequest) -> None:
        kept = self._book.get(Cid(request.release_cid))
        if kept is None:
            await self._reply(stream, Answer.UNKNOWN)
            return
        reply = PledgeReply(Answer.OK.value, kept.progress, kept.have_bytes, 0)
        await stream.write(pack(encode_record(reply)))

    async def _reply(self, stream: MarinaStream, answer: Answer, payload: bytes = b"") -> None:
        await stream.write(pack(encode_record(PledgeReply(answer.value, 0, 0, len(payload)))) + payload)

    def _vouch(self, item: Offer | Pledge) -> bytes:
        return vouch(item, self._identity.signer, self._identity.binding())

    def _within_rate(self, peer: PeerId) -> bool:
        now_s = self._clock.monotonic_s()
        bucket = self._limits.get(peer)
        if bucket is None:
            if len(self._limits) >= _PEERS_LIMITED_MAX:
                del self._limits[next(iter(self._limits))]
            bucket = TokenBucket(self._config.requests_per_s, self._config.requests_burst, now_s)
            self._limits[peer] = bucket
        return bucket.try_take(1.0, now_s)

    async def _let_go(self) -> None:
        for kept in self._book.ended():
            release = Cid(kept.release)
            log.info("a pledge has ended", extra={"context": {"release": cid_text(release)}})
            try:
                await self.cancel(release)
            except MarinaError as err:  # tried again at the next look
                log.warning("a release whose pledge has ended was not let go: %s", err)

    def _start_fetches(self, nursery: trio.Nursery) -> None:
        now_s = self._clock.monotonic_s()
        for kept in self._book.to_fetch():
            release = Cid(kept.release)
            if len(self._active) >= self._config.parallel:
                return
            if release not in self._active and self._not_before_s.get(release, 0.0) <= now_s:
                self._active[release] = trio.CancelScope()
                nursery.start_soon(self._fetch, kept)

    async def _fetch(self, kept: Kept) -> None:
        release, have = Cid(kept.release), kept.have_bytes
        reported = trio.Event()

        def report(have_bytes: int) -> None:
            nonlocal have
            have = min(have_bytes, kept.size_bytes)
            reported.set()

        async def write_down() -> None:
            nonlocal reported
            while True:
                await reported.wait()
                reported = trio.Event()
                await self._note(release, Progress.FETCHING, have)
                await trio.sleep(1.0)

        outcome: Progress | None = Progress.FAILED
        try:
            with self._active[release]:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(write_down)
                    outcome = await self._fetch_once(kept, report)
                    nursery.cancel_scope.cancel()
                if outcome is Progress.COMPLETE:
                    self._not_before_s.pop(release, None)
                    await self._note(release, outcome, kept.size_bytes)
                elif outcome is None:
                    await self._book.end(release)
                else:
                    pause_s = self._config.retry_s * self._rng.uniform(0.5, 1.5)
                    self._not_before_s[release] = self._clock.monotonic_s() + pause_s
                    await self._note(release, outcome, have)
        finally:
            del self._active[release]
            self._wake()

    async def _note(self, release: Cid, progress: Progress, have_bytes: int) -> None:
        try:
            await self._book.progressed(release, progress, have_bytes)
        except MarinaError as err:  # a full disk: the copy is looked at again after the next start
            log.warning("a pledge's progress was not saved: %s", err)

    async def _fetch_once(self, kept: Kept, report: Callable[[int], None]) -> Progress | None:
        """Return how far the copy came, None for a pledge that must not be kept."""
        release = Cid(kept.release)
        try:
            self._denylist.check(cids=[release])
            await self._store.fetch(release, PeerId(kept.source), kept.size_bytes, report)
        except DeniedError as err:
            # The list has grown since the pledge.
            log.warning("a pledge is given up: %s", err, extra={"context": {"release": cid_text(release)}})
            return None
        except MarinaError as err:
            context = {"release": cid_text(release), "cause": str(err)[:200]}
            log.warning("a pledged release was not fetched yet", extra={"context": context})
            return Progress.FAILED
        except ExceptionGroup:
            # Tasks of the fetch failed together; that is this release's trouble and not the node's.
            context = {"release": cid_text(release)}
            log.exception("a pledged release was not fetched yet", extra={"context": context})
            return Progress.FAILED
        return Progress.COMPLETE

    def _pause_s(self) -> float:
        now_s = self._clock.monotonic_s()
        waits = [at_s - now_s for at_s in self._not_before_s.values() if at_s > now_s]
        return min([self._config.check_every_s, *waits])

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
