"""What Marina asks of a Kubo node, for callers on trio: blocks, pins, peers.

Every call has a deadline and at most ``CALLS_MAX`` run at a time. After a call that found nobody,
further calls fail at once for ``AWAY_S`` instead of waiting in turn. All calls can be repeated, so one
whose connection was gone is sent once more: that is what a restarted node looks like.

Kubo files blocks by their hash alone. Single blocks therefore go by their raw CID, whatever their codec:
a pin under another one would have Kubo decode bytes that need not be decoded to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from marina.cid import Cid, cid_from_digest, cid_text, digest_of, matches
from storage.content.car import car_header, car_section
from storage.errors import DiskFullError
from storage.file_ops import Buffer
from storage.kubo.address import KuboAddress
from storage.kubo.asyncio_thread import AsyncioThread
from storage.kubo.errors import KuboAwayError, KuboError

if TYPE_CHECKING:
    from storage.kubo.client import KuboClient

T = TypeVar("T")
CALLS_MAX = 8
CAR_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of blocks in one import."""
AWAY_S = 2.0
READ_S = 15.0
WRITE_S = 60.0
FETCH_S = 600.0
"""For a pin that fetches; the next one goes on where it stopped."""
PIN_NAME = "marina"
_MISSING = ("not found locally", "could not find", "not found")
_FULL = ("no space left on device", "disk quota exceeded")
_NOT_PINNED = "not pinned"


@dataclass(frozen=True, slots=True)
class KuboIdentity:
    """Who answered.

    Attributes:
        peer_id: of the node in the IPFS network.
        agent: program and version.
        addresses: where other peers reach it, each with its peer id.
    """

    peer_id: str
    agent: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KuboRepo:
    """What the node stores: bytes on its disk, the most it means to keep, and objects."""

    size_bytes: int
    size_bytes_max: int
    objects: int


class KuboRpc:
    """Calls to one node."""

    def __init__(self, address: KuboAddress) -> None:
        """Take an address; nothing is loaded or dialled before the first call."""
        self.address = address
        self._thread = AsyncioThread("marina-kubo", calls_max=CALLS_MAX)
        self._client: KuboClient | None = None
        self._away_until = -float("inf")

    async def identity(self, *, timeout_s: float = READ_S) -> KuboIdentity:
        """Return who answers; errors as for ``load``."""
        answer = await self._ask(lambda client: client.core.id(), timeout_s, "say who it is")
        return KuboIdentity(
            peer_id=_text(answer, "ID"),
            agent=_text(answer, "AgentVersion"),
            addresses=tuple(str(each) for each in answer.get("Addresses") or ()),
        )

    async def repo(self) -> KuboRepo:
        """Return what it stores; errors as for ``load``."""
        answer = await self._ask(lambda client: client.repo.stat(), READ_S, "say what it stores")
        return KuboRepo(*(_number(answer, key) for key in ("RepoSize", "StorageMax", "NumObjects")))

    async def store(self, blocks: Sequence[tuple[Cid, Buffer]]) -> None:
        """Store verified blocks and pin each of them by itself, on the node's disk when this returns.

        One block goes by ``block/put``, several by ``dag/import``. Kubo's flatfs syncs files and
        directories before it answers (``sync: true``, its default), which is what we rely on; its own
        collector takes nothing that is pinned.

        Raises:
            DiskFullError: its disk is full.
            KuboAwayError: it does not answer: nothing counts as stored.
            KuboError: it refused.
        """
        for group in _groups(blocks):
            await self._store_group(group)

    async def load(self, cid: Cid) -> bytes | None:
        """Return a block's verified bytes, None if it is not there or not what it should be.

        Raises:
            KuboAwayError: the node does not answer.
            KuboError: it refused.
        """
        try:
            data = await self._ask(lambda client: client.block.get(_name(cid)), READ_S, "read a block")
        except KuboError as err:
            if any(each in str(err) for each in _MISSING):
                return None
            raise
        return data if matches(cid, data) else None

    async def drop(self, cids: Sequence[Cid]) -> None:
        """Unpin blocks and remove those that nothing else pins; what is not there is no error.

        Removal goes by a block's own CID: only under that name does Kubo find it in the trees that it pins.
        It walks all of those for each call, which can take long and then says nothing about the node.
        """
        await self._unpin([_name(each) for each in cids])
        names = [cid_text(each) for each in cids]
        await self._try(lambda client: client.block.rm(names), WRITE_S, "remove blocks")

    async def pin_tree(self, root: Cid) -> None:
        """Let the node fetch everything below a root that it does not have, and keep it."""
        await self._ask(
            lambda client: client.pin.add([cid_text(root)], recursive=True, name=PIN_NAME), FETCH_S, "pin"
        )

    async def unpin_tree(self, root: Cid) -> None:
        """Let the node's own collector have what is below a root; no error if it was not pinned."""
        try:
            await self._ask(lambda client: client.pin.rm([cid_text(root)], recursive=True), WRITE_S, "unpin")
        except KuboError as err:
            if _NOT_PINNED not in str(err):
                raise

    async def provide(self, root: Cid) -> None:
        """Let the node tell its network that it has a root."""
        await self._ask(lambda client: client.routing.provide(cid_text(root)), WRITE_S, "announce")

    async def connect(self, addresses: Sequence[str]) -> None:
        """Connect the node to a peer, given by multiaddrs that end in its peer id; one of them is enough."""
        await self._ask(lambda client: client.swarm.connect(addresses), READ_S, "connect to this node")

    async def close(self) -> None:
        """Close connections and end the thread; a later call starts it again."""
        client, self._client = self._client, None
        if client is not None and self._thread.is_running:
            with trio.CancelScope(deadline=trio.current_time() + READ_S, shield=True):
                await self._thread.run(client.close, timeout_s=READ_S)
        await self._thread.stop()

    async def _store_group(self, group: Sequence[tuple[Cid, Buffer]]) -> None:
        names = [_name(cid) for cid, _ in group]
        if len(group) == 1:
            data = bytes(group[0][1])
            stored = await self._ask(lambda client: client.block.put(data), WRITE_S, "store a block")
            if stored != names[0]:
                raise KuboError(f"the Kubo node at {self.address.url} stored a block under another name")
        else:
            car = await trio.to_thread.run_sync(lambda: _car(group))
            await self._ask(lambda client: client.dag.car_import(car), WRITE_S, "store blocks")
        # Each by itself: a pin of a whole tree would hold a partial rendition to be whole.
        await self._ask(
            lambda client: client.pin.add(names, recursive=False, name=PIN_NAME), WRITE_S, "pin blocks"
        )

    async def _unpin(self, names: list[str]) -> None:
        try:
            await self._ask(lambda client: client.pin.rm(names, recursive=False), WRITE_S, "unpin blocks")
        except KuboError as err:
            if _NOT_PINNED not in str(err):
                raise
            if len(names) > 1:  # the call stops at the first that is not pinned
                for name in names:
                    await self._unpin([name])

    async def _ask(
        self, call: Callable[[KuboClient], Coroutine[Any, Any, T]], timeout_s: float, what: str
    ) -> T:
        if trio.current_time() < self._away_until:
            raise self._away()
        try:
            return await self._try(call, timeout_s, what)
        except KuboAwayError:
            self._away_until = trio.current_time() + AWAY_S
            raise

    async def _try(
        self, call: Callable[[KuboClient], Coroutine[Any, Any, T]], timeout_s: float, what: str
    ) -> T:
        from aiohttp import ClientError, ClientOSError, ServerDisconnectedError
        from aioipfs import APIError, RPCAccessDenied

        from storage.kubo.client import AnswerTooLargeError

        async def once() -> T:
            client = self._made()
            try:
                return await call(client)
            except (ServerDisconnectedError, ClientOSError):
                return await call(client)

        try:
            return await self._thread.run(once, timeout_s=timeout_s)
        except (ClientError, OSError, TimeoutError) as err:
            raise self._away() from err
        except RPCAccessDenied as err:
            raise KuboError(
                f"the Kubo node at {self.address.url} does not let us in: run "
                "'marina ipfs pair URL --token-file FILE' with a token that its API.Authorizations knows"
            ) from err
        except APIError as err:
            message = str(err.message or "it did not say why")
            if any(each in message for each in _FULL):
                raise DiskFullError(
                    f"the disk of the Kubo node at {self.address.url} is full: free some space there; what "
                    "is stored keeps playing"
                ) from err
            raise KuboError(f"the Kubo node at {self.address.url} could not {what}: {message[:300]}") from err
        except (AnswerTooLargeError, ValueError) as err:
            raise KuboError(f"the Kubo node at {self.address.url} answered with something else") from err

    def _made(self) -> KuboClient:
        """Return the client; called in the asyncio thread, to whose loop it belongs."""
        if self._client is None:
            from storage.kubo.client import KuboClient

            address = self.address
            self._client = KuboClient(
                scheme=address.scheme,
                host=address.host,
                port=address.port,
                authorization=address.authorization,
            )
        return self._client

    def _away(self) -> KuboAwayError:
        return KuboAwayError(
            f"the Kubo node at {self.address.url} does not answer: start it (ipfs daemon); what is kept "
            "here meanwhile keeps playing"
        )


def _groups(blocks: Sequence[tuple[Cid, Buffer]]) -> list[list[tuple[Cid, Buffer]]]:
    groups: list[list[tuple[Cid, Buffer]]] = []
    size = 0
    for cid, data in blocks:
        if not groups or size + len(data) > CAR_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append((cid, data))
        size += len(data)
    return groups


def _car(blocks: Sequence[tuple[Cid, Buffer]]) -> bytes:
    parts: list[Buffer] = [car_header([_raw(blocks[0][0])])]
    for cid, data in blocks:
        parts += car_section(_raw(cid), data)
    return b"".join(parts)


def _raw(cid: Cid) -> Cid:
    return cid_from_digest(digest_of(cid))


def _name(cid: Cid) -> str:
    return cid_text(_raw(cid))


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise KuboError("what answered is not a Kubo node")
    return value


def _number(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key)
    return value if isinstance(value, int) else 0
