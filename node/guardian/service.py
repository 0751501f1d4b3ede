"""The guardian of a node: off unless its owner said otherwise, and then a server, an address, a watch."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.cid import Cid
from marina.clock import Clock
from marina.codec import encode
from marina.errors import MarinaError, NetworkError, NotFoundError
from marina.ids import TrackId
from marina.metrics import Counter, Registry
from marina.schema import encode_record
from marina.signing import Signer
from node.chain.service import ChainService
from node.guardian.former import Former, former_keybox
from node.guardian.rates import Rates
from node.guardian.release_log import ReleaseLog
from node.guardian.watch import ReorgWatch
from p2p.host import Host
from p2p.key_server import KeyServer
from p2p.wire.key import holder_cid
from storage.identity.owner import Owner
from storage.kv import KeyValueStore, Table

if TYPE_CHECKING:
    # A node that is no guardian and has no chain loads nothing of it.
    from trio_typing import TaskStatus

    from chain.key_facts import KeyChain
    from node.guardian.judge import Judge

log = logging.getLogger("marina.node.guardian")
_ON = b"on"
_WATCH_S = 3.0
_PRUNE_EVERY_S = 86_400.0


class _Holder:
    """The owner, as the judge needs them."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.signer: Signer = owner.device
        self.account = owner.account

    def key(self) -> X25519PrivateKey:
        return self._owner.key_holder_key()

    def binding(self) -> bytes:
        return encode_record(self._owner.binding)


class GuardianService:
    """Answers key requests while it is on."""

    def __init__(
        self,
        *,
        host: Host,
        owner: Owner,
        chain: ChainService,
        store: KeyValueStore,
        publish: Callable[[Cid, bytes], Awaitable[None]],
        clock: Clock,
        registry: Registry,
    ) -> None:
        """Take the collaborators; nothing is served yet.

        Args:
            host: the node's libp2p host.
            owner: whose shares these are.
            chain: the node's chain.
            store: the node's state.
            publish: keeps a small block and lets everybody find it here.
            clock: the time.
            registry: of metrics.
        """
        self._host = host
        self._owner = owner
        self._chain = chain
        self._state = Table(store, "guardian")
        self._releases = ReleaseLog(store)
        self._publish = publish
        self._clock = clock
        self._wake = trio.Event()
        self._judge: Judge | None = None
        self._key_chain: KeyChain | None = None
        self._server: KeyServer | None = None
        self._is_announced = False
        self._next_prune_s = 0.0
        self._reorg_leaks = Counter(
            "marina_guardian_reorg_leaks_total",
            "Releases for licences that a re-organisation took away afterwards",
            registry=registry,
        )
        self._watch = ReorgWatch(
            releases=self._releases, is_licence=self._is_licence, lost=self._reorg_leaks.inc
        )
        self._answers = Counter(
            "marina_guardian_answers_total", "Answers to key messages", ["outcome"], registry=registry
        )

    @property
    def is_on(self) -> bool:
        """Whether requests are answered."""
        return self._server is not None

    async def switch(self, on: bool) -> None:
        """Answer from now on, or no longer; that is remembered."""
        await (self._state.put(_ON, b"1") if on else self._state.delete(_ON))
        self._set(on)

    async def facts(self) -> dict[str, Any]:
        """Return what the owner sees of it."""
        releases, devices = await self._releases.totals()
        return {
            "on": self.is_on,
            "locked": self._owner.is_locked,
            "released": releases,
            "devices": devices,
            "answers": dict(self._judge.counts) if self._judge else {},
        }

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve if it was on before, and watch what becomes of the blocks of releases, until cancelled."""
        if await self._state.get(_ON) is not None:
            self._set(True)
        task_status.started()
        while True:
            if not self.is_on:
                await self._wake.wait()
                self._wake = trio.Event()
                continue
            for step in (self._announce, self._look, self._prune):
                try:
                    await step()
                except MarinaError as err:
                    log.info("a part of a guardian's work waits: %s", err)
            await trio.sleep(_WATCH_S)

    async def answer(self, message: bytes, peer_key: bytes, origin: str) -> bytes:
        """Answer one message of the key protocol."""
        judge = self._judge = self._judge or self._make_judge()
        return await judge.answer(message, peer_key, origin)

    def _set(self, on: bool) -> None:
        if on and self._server is None:
            self._server = KeyServer(answering=self)
            self._server.attach(self._host)
            log.info("this node answers key requests")
        elif not on and self._server is not None:
            self._server.detach(self._host)
            self._server = None
            self._is_announced = False
            log.info("this node answers no key requests any more")
        self._wake.set()

    async def _announce(self) -> None:
        """Let everybody find this node by its key; errors as for ``publish``."""
        if not self._is_announced:
            key = self._owner.device.public_key
            await self._publish(holder_cid(key), encode(["marina/guardian/1", key]))
            self._is_announced = True

    async def _look(self) -> None:
        await self._watch.look(self._facts_of, self._clock.now_s())

    async def _prune(self) -> None:
        if self._clock.monotonic_s() >= self._next_prune_s:
            await self._releases.prune(self._clock.now_s())
            self._next_prune_s = self._clock.monotonic_s() + _PRUNE_EVERY_S

    def _make_judge(self) -> Judge:
        from node.guardian.judge import Judge

        return Judge(
            holder=_Holder(self._owner),
            chain=self._facts_of,
            releases=self._releases,
            clock=self._clock,
            admits=Rates(clock=self._clock).admits,
            seen=lambda outcome: self._answers.labels(outcome=outcome).inc(),
            former=self._former,
        )

    def _facts_of(self) -> KeyChain:
        from chain.key_facts import KeyChain

        if self._key_chain is None:
            try:
                chain = self._chain.get()
            except MarinaError as err:
                raise NetworkError(str(err)) from err
            self._key_chain = KeyChain(rpc=chain.rpc, contracts=chain.contracts, clock=self._clock)
        return self._key_chain

    async def _former(self, track_id: TrackId, tier: int, digest: bytes) -> Former | None:
        return await former_keybox(self._chain.get().tables, track_id, tier, digest)

    async def _is_licence(self, licence: bytes) -> bool:
        try:
            await self._chain.get().offers.licence(licence)
        except NotFoundError:
            return False
        return True
