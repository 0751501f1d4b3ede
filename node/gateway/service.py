"""The gateway of a node: switched on and off while it runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from marina.errors import MarinaError
from node.api.bind import bind_tcp
from node.gateway.answers import Gateway
from node.gateway.limits import Turnstile
from node.gateway.server import GatewayServer
from node.settings import GATEWAY_PORT, GatewaySettings

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_EVERY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - told apart, not listened on


class GatewayService:
    """Runs the gateway while it is wanted."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        make: Callable[[Callable[[], Sequence[str]]], Gateway],
        turnstile: Turnstile,
    ) -> None:
        """Take the collaborators.

        Args:
            settings: of the gateway, as they stand at the start.
            make: returns the gateway that tells its own addresses beside the node's.
            turnstile: its limits.
        """
        self.settings = settings
        self._gateway = make(self.addresses)
        self._turnstile = turnstile
        self._sockets: Sequence[socket.socket] = ()
        self._scope = trio.CancelScope()
        self._changed = trio.Event()
        self._problem = ""

    def addresses(self) -> Sequence[str]:
        """Return where it listens, as multiaddrs for others; none while it is off, or for every address."""
        names = [each.getsockname()[:2] for each in self._sockets]
        return [
            f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/http"
            for host, port in names
            if host not in _EVERY
        ]

    def urls(self) -> list[str]:
        """Return where it listens, as people write it; none while it is off."""
        names = [each.getsockname()[:2] for each in self._sockets]
        return [f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port in names]

    def facts(self) -> dict[str, object]:
        """Return whether it is on and where, JSON-ready."""
        return {
            "on": bool(self._sockets),
            "urls": self.urls(),
            "addresses": list(self.addresses()),
            "requests_per_s": self._turnstile.limits.requests_per_s,
            "bytes_per_s": self._turnstile.limits.bytes_per_s,
            "problem": self._problem or None,
        }

    def switch_on(self, host: str, port: int | None) -> None:
        """Serve at an address from now on, and no longer at another.

        Raises:
            PortTakenError, MarinaError: it cannot listen there; it serves as before.
        """
        is_there = port and any(each.getsockname()[1] == port for each in self._sockets)
        if not is_there or host != self.settings.host:
            self._take(bind_tcp(host, port, preferred=GATEWAY_PORT))
        self.settings = replace(self.settings, enabled=True, host=host, port=port)

    def switch_off(self) -> None:
        """Serve no longer; open connections are closed."""
        self._take(())

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve whenever it is on; until cancelled."""
        if self.settings.enabled:
            try:
                self.switch_on(self.settings.host, self.settings.port)
            except MarinaError as err:
                self._problem = str(err)  # the node is worth running without it
        task_status.started()
        try:
            while True:
                self._changed = trio.Event()
                with trio.CancelScope() as self._scope:
                    if self._sockets:
                        server = GatewayServer(gateway=self._gateway, turnstile=self._turnstile)
                        await server.run(self._sockets)
                    await self._changed.wait()
        finally:
            self._take(())

    def _take(self, sockets: Sequence[socket.socket]) -> None:
        old, self._sockets, self._problem = self._sockets, sockets, ""
        self._changed.set()
        self._scope.cancel()
        for each in old:
            each.close()
