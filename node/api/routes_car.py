"""Releases as CAR files on this machine's disk: written, and brought in."""

from __future__ import annotations

from pathlib import Path

from marina.errors import UsageError
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.car_export import export_release
from node.car_import import import_release
from node.jobs import Event, Report
from node.services import Services

_PATH_BYTES_MAX = 4096


class CarRoutes:
    """Exports and imports."""

    def __init__(self, *, services: Services) -> None:
        self._services = services

    @route("POST", "/api/v1/releases/{id}/export", scope=Scope.ADMIN)
    async def write(self, ctx: ApiContext) -> Reply:
        """Write a release that is here whole into ``file``; progress as it goes."""
        services = self._services
        target = await services.library.resolve(ctx.params["id"])
        path, is_forced = _path(ctx), ctx.body.flag("force")
        if target.track is not None:
            target = await services.library.exact_version(target.signed.cid)

        async def work(report: Report) -> Event:
            return await export_release(services, target, path, is_forced=is_forced, report=report)

        return Reply.stream(services.jobs.events(work))

    @route("POST", "/api/v1/car", scope=Scope.ADMIN)
    async def read(self, ctx: ApiContext) -> Reply:
        """Bring in the release of ``file``; progress as it goes, and what is wrong with single blocks."""
        path = _path(ctx)

        async def work(report: Report) -> Event:
            return await import_release(self._services, path, report)

        return Reply.stream(self._services.jobs.events(work))


def _path(ctx: ApiContext) -> Path:
    path = Path(ctx.body.text("file", bytes_max=_PATH_BYTES_MAX))
    if not path.is_absolute():
        raise UsageError("the file is named by its whole path")
    return path
