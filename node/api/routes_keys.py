"""The owner's secrets: lock, unlock, words, passphrase, devices. A passphrase comes in and never goes out."""

from __future__ import annotations

import trio

from marina.ids import account_text
from marina.secret import Secret
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.services import Services
from storage.identity.binding import Scope as DeviceScope


class KeyRoutes:
    """Everything that needs the vault."""

    def __init__(self, *, services: Services) -> None:
        self._services = services

    @route("POST", "/api/v1/key/unlock", scope=Scope.ADMIN)
    async def unlock(self, ctx: ApiContext) -> Reply:
        """Open the vault."""
        passphrase = Secret(ctx.body.text("passphrase", bytes_max=1024))
        await trio.to_thread.run_sync(self._services.owner.unlock, passphrase)
        await self._services.private.unlock()
        return Reply.ok({"locked": False})

    @route("POST", "/api/v1/key/lock", scope=Scope.ADMIN)
    async def lock(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Forget the secrets; the node goes on serving ciphertext."""
        self._services.private.lock()
        self._services.owner.lock()
        return Reply.ok({"locked": True})

    @route("POST", "/api/v1/key/words", scope=Scope.ADMIN)
    async def words(self, ctx: ApiContext) -> Reply:
        """Answer the 24 words after the passphrase was given again."""
        passphrase = Secret(ctx.body.text("passphrase", bytes_max=1024))
        words = await trio.to_thread.run_sync(self._services.owner.words, passphrase)
        return Reply.ok({"words": words.reveal().split()})

    @route("POST", "/api/v1/key/passphrase", scope=Scope.ADMIN)
    async def passphrase(self, ctx: ApiContext) -> Reply:
        """Change the passphrase."""
        old = Secret(ctx.body.text("passphrase", bytes_max=1024))
        new = Secret(ctx.body.text("newPassphrase", bytes_max=1024))
        await trio.to_thread.run_sync(self._services.owner.change_passphrase, old, new)
        return Reply.ok({"changed": True})

    @route("GET", "/api/v1/devices", scope=Scope.READ_MUSIC)
    async def devices(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the devices of this account that this node knows of: itself."""
        return Reply.ok(self._devices())

    @route("POST", "/api/v1/devices/renew", scope=Scope.ADMIN)
    async def renew(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Sign this device's binding anew."""
        await trio.to_thread.run_sync(self._services.owner.bind)
        return Reply.ok(self._devices())

    def _devices(self) -> dict[str, object]:
        binding = self._services.owner.binding
        scopes = [each.name.lower() for each in DeviceScope if each.name and binding.scopes & each]
        return {
            "account": account_text(self._services.owner.account),
            "items": [
                {
                    "peer": self._services.host.peer_id,
                    "scopes": " ".join(scopes),
                    "until": binding.not_after,
                    "note": "this device",
                }
            ],
        }
