"""The trustless gateway: on, off, and where."""

from __future__ import annotations

import trio

from marina.errors import UsageError
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.gateway.service import GatewayService
from node.services import Services
from node.settings_load import set_value

_HOST_BYTES_MAX = 64


class GatewayRoutes:
    """The switch."""

    def __init__(self, *, services: Services) -> None:
        self._services = services

    @route("GET", "/api/v1/gateway", scope=Scope.READ_MUSIC)
    async def show(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer whether it serves, and where."""
        return Reply.ok(self._gateway.facts())

    @route("POST", "/api/v1/gateway", scope=Scope.ADMIN)
    async def switch(self, ctx: ApiContext) -> Reply:
        """Serve from now on, or no longer, also after a restart; without ``host`` and ``port`` as before."""
        if "on" not in ctx.body:
            raise UsageError("say 'on': true to serve the gateway, false to serve it no longer")
        changes = {"gateway.enabled": "true" if ctx.body.flag("on") else "false"}
        if ctx.body.flag("on"):
            settings = self._gateway.settings
            host = ctx.body.text("host", settings.host, bytes_max=_HOST_BYTES_MAX)
            port = ctx.body.whole("port", settings.port, low=0, high=65535)
            changes |= {"gateway.host": host, "gateway.port": "auto" if port is None else str(port)}
            self._gateway.switch_on(host, port)
        else:
            self._gateway.switch_off()
        root = self._services.home.root
        await trio.to_thread.run_sync(lambda: [set_value(root, key, text) for key, text in changes.items()])
        return Reply.ok(self._gateway.facts())

    @property
    def _gateway(self) -> GatewayService:
        return self._services.gateway
