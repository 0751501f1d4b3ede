"""Keeps the owner's releases pinned in the paired Kubo node, through restarts and failures of both.

What is to be kept stands in the database; a loop brings the node there. The node fetches from this one
over bitswap, so each of the two tries to reach the other first.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid, cid_text
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import PeerId, ReleaseId
from node.health import CheckResult, Health
from node.ipfs.pin_list import PROBLEM_BYTES_MAX, IpfsPin, PinList
from storage.kubo.address import KuboAddress
from storage.kubo.errors import KuboError
from storage.kubo.rpc import KuboIdentity, KuboRpc
from storage.kv import Table

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.ipfs")
RETRY_S = 15.0
RETRY_S_MAX = 600.0
STATUS_S = 3.0
_NODE_KEY = b"peer"

Releases = Callable[[], AsyncIterator[tuple[ReleaseId, Cid]]]
Dial = Callable[[PeerId, Sequence[str]], Awaitable[bool]]


class IpfsPairing:
    """The Kubo node that this node is paired with, if any."""

    def __init__(
        self,
        *,
        address: KuboAddress | None,
        pins: Table,
        node: Table,
        releases: Releases,
        own_addresses: Callable[[], Sequence[str]],
        dial: Dial,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing is asked yet.

        Args:
            address: the node's RPC, None when there is no pairing.
            pins: table of what is kept there.
            node: table that remembers which node that was.
            releases: every release that the owner has published and not withdrawn.
            own_addresses: where other peers reach this node, as multiaddrs with its peer id.
            dial: reaches a peer; returns whether it is connected.
            clock: the time.
        """
        self._rpc = None if address is None else KuboRpc(address)
        self._list = PinList(pins)
        self._node = node
        self._releases = releases
        self._own_addresses = own_addresses
        self._dial = dial
        self._clock = clock
        self._wake = trio.Event()
        self._lock = trio.Lock()
        self._settling = trio.CancelScope()

    @property
    def address(self) -> KuboAddress | None:
        """The RPC of the paired node."""
        return None if self._rpc is None else self._rpc.address

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bring the paired node to what is wanted, again after each failure and change; until cancelled."""
        task_status.started()
        pause_s = RETRY_S
        try:
            while True:
                self._wake = trio.Event()
                is_done = False
                with trio.CancelScope() as self._settling:
                    is_done = self._rpc is None or await self._settle_all()
                pause_s = RETRY_S if is_done else min(2 * pause_s, RETRY_S_MAX)
                with trio.move_on_after(float("inf") if is_done else pause_s):
                    await self._wake.wait()
                    pause_s = RETRY_S
        finally:
            if self._rpc is not None:
                await self._rpc.close()

    async def published(self, release: ReleaseId, cid: Cid | None) -> None:
        """Note that the owner published a version of a release, or withdrew it (None)."""
        if self._rpc is not None:
            await self._list.want(release, cid)
            self._wake.set()

    async def pair(self, address: KuboAddress) -> KuboIdentity:
        """Pair with a node that answers; releases follow in their own time.

        Raises:
            KuboError: it does not answer, refuses, or is no Kubo node; the old pairing stays.
        """
        rpc = KuboRpc(address)
        try:
            identity = await rpc.identity()
            self._settling.cancel()
            async with self._lock:
                await self._take_over(identity)
                old, self._rpc = self._rpc, rpc
        except BaseException:
            await rpc.close()
            raise
        if old is not None:
            await old.close()
        self._wake.set()
        return identity

    async def unpair(self, *, unpin: bool) -> int:
        """End the pairing; return how many releases stay pinned there.

        Args:
            unpin: take the pins back first.

        Raises:
            KuboError: a pin could not be taken back; the pairing stays.
        """
        kept = 0
        self._settling.cancel()
        async with self._lock:
            if self._rpc is None:
                return 0
            async with aclosing(self._list.rows()) as rows:
                async for release, row in rows:
                    if unpin and row.kept is not None:
                        await self._rpc.unpin_tree(Cid(row.kept))
                    kept += row.kept is not None and not unpin
                    await self._list.put(release, IpfsPin(None))
            await self._node.delete(_NODE_KEY)
            rpc, self._rpc = self._rpc, None
        await rpc.close()
        return kept

    async def facts(self) -> dict[str, object]:
        """Return the pairing, JSON-ready; the node is asked, so that the answer is of now."""
        if self._rpc is None:
            return {"paired": False}
        releases = []
        async with aclosing(self._list.rows()) as rows:
            async for release, row in rows:
                cid = row.wanted or row.kept
                releases.append(
                    {
                        "release": release.hex(),
                        "cid": cid_text(Cid(cid)) if cid else None,
                        "pinned": row.kept is not None and row.is_settled,
                        "announced": row.is_announced,
                        "withdrawn": row.wanted is None,
                        "problem": row.problem or None,
                    }
                )
        facts: dict[str, object] = {"paired": True, "url": self._rpc.address.url, "releases": releases}
        try:
            identity = await self._rpc.identity(timeout_s=STATUS_S)
            repo = await self._rpc.repo()
        except MarinaError as err:
            return {**facts, "answers": False, "problem": str(err)}
        return {
            **facts,
            "answers": True,
            "problem": None,
            "peer": identity.peer_id,
            "agent": identity.agent,
            "bytes": repo.size_bytes,
            "bytes_max": repo.size_bytes_max,
        }

    async def check(self) -> CheckResult:
        """Say whether the paired node answers."""
        if self._rpc is None:
            return CheckResult(Health.HEALTHY, "no Kubo node is paired")
        try:
            identity = await self._rpc.identity(timeout_s=STATUS_S)
        except MarinaError as err:
            return CheckResult(Health.DEGRADED, str(err))
        return CheckResult(Health.HEALTHY, f"{identity.agent} answers")

    async def _take_over(self, identity: KuboIdentity) -> None:
        """Want every release there; what another node keeps is not kept by this one."""
        known = await self._node.get(_NODE_KEY)
        if known != identity.peer_id.encode():
            async with aclosing(self._list.rows()) as rows:
                async for release, row in rows:
                    await self._list.put(release, replace(row, kept=None, is_announced=False))
            await self._node.put(_NODE_KEY, identity.peer_id.encode())
        async for release, cid in self._releases():
            await self._list.want(release, cid)

    async def _settle_all(self) -> bool:
        """Try every release that is not as it should be; return whether none is left."""
        async with self._lock:
            if self._rpc is None:
                return True
            rpc, is_done, is_reached = self._rpc, True, False
            async with aclosing(self._list.rows()) as rows:
                async for release, row in rows:
                    if row.is_settled:
                        continue
                    try:
                        if row.wanted is not None and not is_reached:
                            await self._reach(rpc)
                            is_reached = True
                        done = await self._settle(rpc, row)
                    except MarinaError as err:
                        log.info("a release is not pinned yet", extra={"context": {"reason": str(err)}})
                        done = replace(
                            row, problem=str(err).encode()[:PROBLEM_BYTES_MAX].decode(errors="ignore")
                        )
                        is_done = False
                    now = await self._list.get(release)
                    wanted = row.wanted if now is None else now.wanted  # it may have changed meanwhile
                    await self._list.put(release, replace(done, wanted=wanted, tried_s=self._clock.now_s()))
        return is_done

    async def _settle(self, rpc: KuboRpc, row: IpfsPin) -> IpfsPin:
        """Pin what is wanted, then unpin what is not; the new version shares most blocks with the old."""
        is_announced = False
        if row.wanted is not None:
            await rpc.pin_tree(Cid(row.wanted))
            try:
                await rpc.provide(Cid(row.wanted))
                is_announced = True
            except KuboError as err:
                # A node without a network has nobody to tell; one with a network tells again by itself.
                log.info("a pinned release is not announced", extra={"context": {"reason": str(err)}})
        if row.kept is not None:
            await rpc.unpin_tree(Cid(row.kept))
        return replace(row, kept=row.wanted, is_announced=is_announced, problem="")

    async def _reach(self, rpc: KuboRpc) -> None:
        """Connect the two nodes, from either side.

        Raises:
            KuboError: neither reaches the other.
        """
        try:
            await rpc.connect(self._own_addresses())
        except KuboError as err:
            identity = await rpc.identity()
            if not await self._dial(PeerId(identity.peer_id), identity.addresses):
                raise KuboError(
                    "this node and the Kubo node do not reach each other, so it cannot fetch the releases: "
                    f"let one of them listen where the other can connect ({err})"
                ) from err
