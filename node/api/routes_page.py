"""The player page: a few files of this package, the same for everybody, so they need no token."""

from __future__ import annotations

from importlib.resources import files

from node.api.errors import NoSuchRouteError
from node.api.reply import REVALIDATE, Reply
from node.api.router import ApiContext, Open, route

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "player.css": "text/css; charset=utf-8",
    "player.js": "text/javascript; charset=utf-8",
    "session.js": "text/javascript; charset=utf-8",
    "shop.js": "text/javascript; charset=utf-8",
    "waveform.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Exactly what may be served: a name that is not here does not exist, whatever lies in the folder."""


class PageRoutes:
    """``/`` and ``/player/{name}``."""

    def __init__(self) -> None:
        folder = files("node").joinpath("player")
        self._files = {name: folder.joinpath(name).read_bytes() for name in _TYPES}

    @route("GET", "/", scope=Open.PAGE)
    async def index(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the page."""
        return self._file("index.html")

    @route("GET", "/player/{name}", scope=Open.PAGE)
    async def asset(self, ctx: ApiContext) -> Reply:
        """Answer one of the page's files."""
        return self._file(ctx.params["name"])

    def _file(self, name: str) -> Reply:
        if name not in self._files:
            raise NoSuchRouteError("the player page has no such file")
        return Reply.raw(self._files[name], _TYPES[name], cache=REVALIDATE)
