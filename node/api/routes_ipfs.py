"""The Kubo node that keeps this owner's releases: pair with it, look at it, end it."""

from __future__ import annotations

import trio

from marina.errors import NotPermittedError
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.ipfs.wiring import kubo_address
from node.services import Services
from node.settings import IpfsSettings
from node.settings_load import set_value, unset_value
from storage.kubo.address import DEFAULT_URL

_URL_BYTES_MAX = 300
_PATH_BYTES_MAX = 4096


class IpfsRoutes:
    """The pairing."""

    def __init__(self, *, services: Services) -> None:
        self._services = services
        self._one_at_a_time = trio.Lock()

    @route("GET", "/api/v1/ipfs", scope=Scope.READ_MUSIC)
    async def show(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer which node it is, whether it answers, and which releases it keeps."""
        facts = await self._services.ipfs.facts()
        return Reply.ok({**facts, "backend": self._services.settings.storage.backend})

    @route("POST", "/api/v1/ipfs", scope=Scope.ADMIN)
    async def pair(self, ctx: ApiContext) -> Reply:
        """Pair with the node at ``url`` if it answers, and write that into the settings."""
        url = ctx.body.text("url", DEFAULT_URL, bytes_max=_URL_BYTES_MAX)
        token_file = ctx.body.text("token_file", "", bytes_max=_PATH_BYTES_MAX)
        async with self._one_at_a_time:
            self._check_free(url)
            address = await trio.to_thread.run_sync(lambda: kubo_address(IpfsSettings(url, token_file)))
            assert address is not None
            identity = await self._services.ipfs.pair(address)
            root = self._services.home.root

            def write() -> None:
                if token_file:
                    set_value(root, "ipfs.token_file", token_file)
                else:
                    unset_value(root, "ipfs.token_file")
                set_value(root, "ipfs.kubo", address.url)

            await trio.to_thread.run_sync(write)
        return Reply.ok({"url": address.url, "peer": identity.peer_id, "agent": identity.agent})

    @route("POST", "/api/v1/ipfs/unpair", scope=Scope.ADMIN)
    async def unpair(self, ctx: ApiContext) -> Reply:
        """End the pairing; what is pinned there stays unless ``unpin`` says otherwise."""
        async with self._one_at_a_time:
            self._check_free("")
            kept = await self._services.ipfs.unpair(unpin=ctx.body.flag("unpin"))
            root = self._services.home.root

            def write() -> None:
                unset_value(root, "ipfs.kubo")
                unset_value(root, "ipfs.token_file")

            await trio.to_thread.run_sync(write)
        return Reply.ok({"kept": kept})

    def _check_free(self, url: str) -> None:
        settings = self._services.settings
        if settings.storage.backend == "kubo" and url.rstrip("/") != settings.ipfs.kubo.rstrip("/"):
            raise NotPermittedError(
                f"this node's blocks are in the Kubo node at {settings.ipfs.kubo}: move them back first, "
                "with the daemon stopped: marina repo move embedded"
            )
