"""The Kubo node of the settings, and the pairing with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import ReleaseId
from marina.secret import Secret
from node.ipfs.pairing import IpfsPairing
from node.settings import IpfsSettings
from node.swarm import Swarm
from p2p.host import Host
from storage.identity.private_file import read_private
from storage.kubo.address import KuboAddress, parse_address
from storage.kv import KeyValueStore, Table
from storage.library.catalog import Catalog

_TOKEN_BYTES_MAX = 8192
_PAGE = 500


def kubo_address(settings: IpfsSettings) -> KuboAddress | None:
    """Return the paired node's RPC with its token, None when there is no pairing; blocks.

    Raises:
        MalformedError: the address is none, or the token cannot stand in a header.
        NotFoundError, NotPermittedError: the token's file is missing, or others may read it.
    """
    if not settings.kubo:
        return None
    return parse_address(settings.kubo, _token(settings.token_file))


def build_pairing(
    *, settings: IpfsSettings, store: KeyValueStore, catalog: Catalog, host: Host, swarm: Swarm, clock: Clock
) -> IpfsPairing:
    """Return the pairing of a node, not running."""

    async def releases() -> AsyncIterator[tuple[ReleaseId, Cid]]:
        cursor: str | None = None
        while True:
            page = await catalog.newest_releases(limit=_PAGE, cursor=cursor)
            for entry in page.items:
                if entry.is_mine and not entry.is_withdrawn:
                    yield ReleaseId(entry.release_id), Cid(entry.cid)
            cursor = page.next
            if cursor is None:
                return

    return IpfsPairing(
        address=kubo_address(settings),
        pins=Table(store, "ipfs-pin"),
        node=Table(store, "ipfs-node"),
        releases=releases,
        own_addresses=lambda: host.listen_addrs,
        dial=swarm.reach,
        clock=clock,
    )


def _token(path: str) -> Secret[str] | None:
    if not path:
        return None
    text = read_private(Path(path), limit_bytes=_TOKEN_BYTES_MAX).decode("ascii", "replace").strip()
    if not text or not text.isprintable() or "\ufffd" in text:
        raise MalformedError(f"{path} holds no token: one line like 'Bearer …' or 'Basic …'")
    return Secret(text if " " in text else f"Bearer {text}")
