"""Publishing, updating, withdrawing; replicas; joining as an operator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trio

from marina.cid import Cid, cid_text
from marina.errors import UsageError
from marina.ids import ReleaseId, account_text, release_text, track_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.sale_offer import keys_json, read_offer
from node.api.scopes import Scope
from node.fetching import fetch_tracks
from node.jobs import Event, Report
from node.publishing import announce, own_hints
from node.services import Services
from node.typed import typed_link
from p2p.links import is_link
from storage.content.release import SignedRelease
from storage.publish.models import Preview, Published, PublishRequest, Skipped

FREE_TERMS, SOLD_TERMS = "CC-BY-4.0", "all-rights-reserved"


class PublishRoutes:
    """What an artist and an operator do."""

    def __init__(self, *, services: Services, succession: trio.Lock) -> None:
        """Take the services; two tabs must not sign two successors of one version: ``succession`` is held."""
        self._services = services
        self._succession = succession

    @route("POST", "/api/v1/publish", scope=Scope.WRITE_MUSIC)
    async def publish(self, ctx: ApiContext) -> Reply:
        """Publish a folder or file of this machine; progress as it goes.

        With ``sale`` its tracks are sold: guardians get the shares of their keys. What it then takes on the
        chain answers ``/releases/{id}/sell``; a dry run shows what that would cost.
        """
        path = Path(ctx.body.text("path"))
        if not path.is_absolute():
            raise UsageError("give the whole path of the folder or file")
        is_dry_run = ctx.body.flag("dry_run", default=False)
        offer = None if "sale" not in ctx.body else await read_offer(self._services, ctx.body.raw()["sale"])
        request = PublishRequest(
            path=path,
            title=ctx.body.text("title", None, bytes_max=1024),
            artist=ctx.body.text("artist", None, bytes_max=1024),
            terms=ctx.body.text("terms", FREE_TERMS if offer is None else SOLD_TERMS, bytes_max=256),
            tags=tuple(ctx.body.texts("tags", items_max=64, bytes_max=256)),
            hints=own_hints(self._services),
            paid=None if offer is None else offer.request,
        )
        replicas = ctx.body.whole("replicas", 0, low=0, high=100)

        async def work(report: Report) -> Event:
            async def tell(done: int, total: int, name: str) -> None:
                await report({"done": done, "total": total, "unit": "files", "note": name})

            if is_dry_run:
                preview = await self._services.publisher.preview(request, tell)
                rehearsed = {} if offer is None else await offer.rehearse(preview)
                return {**_preview(preview), **rehearsed}
            published = await self._in_force(await self._services.publisher.publish(request, tell))
            await announce(self._services, published)
            if replicas:
                target = await self._services.library.resolve_release_cid(published.signed.cid)
                await self._services.replication.want(target, replicas)
            sold = {} if offer is None else await offer.result(published)
            return {**_published(published), **sold}

        return Reply.stream(self._services.jobs.events(work))

    @route("GET", "/api/v1/releases", scope=Scope.READ_MUSIC)
    async def releases(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the releases of this owner."""
        items: list[dict[str, object]] = []
        for entry in await self._services.library.mine():
            status = self._services.replication.status(Cid(entry.cid))
            items.append(
                {
                    "id": release_text(ReleaseId(entry.release_id)),
                    "cid": cid_text(Cid(entry.cid)),
                    "title": entry.title,
                    "artist": entry.artist,
                    "version": entry.version,
                    "withdrawn": entry.is_withdrawn,
                    "tracks": len(entry.track_ids),
                    "replicas": status.replicas,
                    "wanted": status.wanted,
                }
            )
        return Reply.ok({"items": items})

    @route("GET", "/api/v1/releases/{id}/status", scope=Scope.READ_MUSIC)
    async def status(self, ctx: ApiContext) -> Reply:
        """Answer who keeps a release, whether its keys are within reach, and whether it is safe to close."""
        status = await self._status(await self._services.library.release(ctx.params["id"]))
        return Reply.ok({**status, "keys": await keys_json(self._services, ctx.params["id"])})

    @route("POST", "/api/v1/releases/{id}/replicate", scope=Scope.WRITE_MUSIC)
    async def replicate(self, ctx: ApiContext) -> Reply:
        """Ask operators to keep a release."""
        signed = await self._services.library.release(ctx.params["id"])
        target = await self._services.library.resolve_release_cid(signed.cid)
        await self._services.replication.want(target, ctx.body.whole("replicas", low=0, high=100))
        return Reply.ok(await self._status(signed))

    @route("POST", "/api/v1/releases/{id}/update", scope=Scope.WRITE_MUSIC)
    async def update(self, ctx: ApiContext) -> Reply:
        """Sign a successor of a release."""
        number = ctx.body.whole("track", None, low=1, high=500)
        file = ctx.body.text("file", None)
        if (number is None) != (file is None):
            raise UsageError("give both --track N and the new file, or neither")
        title, artist = (
            ctx.body.text("title", None, bytes_max=1024),
            ctx.body.text("artist", None, bytes_max=1024),
        )
        terms = ctx.body.text("terms", None, bytes_max=256)
        if not (title or artist or terms or number):
            raise UsageError("nothing to change: give --title, --artist, --terms or --track N FILE")
        async with self._succession:
            signed = await self._services.library.release(ctx.params["id"])
            published = await self._services.publisher.update(
                signed,
                title=title,
                artist=artist,
                terms=terms,
                replace_track=(number, Path(file)) if number is not None and file is not None else None,
            )
            await announce(self._services, published)
        return Reply.ok(_published(published))

    @route("POST", "/api/v1/releases/{id}/withdraw", scope=Scope.WRITE_MUSIC)
    async def withdraw(self, ctx: ApiContext) -> Reply:
        """Sign a tombstone of a release."""
        reason = ctx.body.text("reason", "", bytes_max=1000)
        async with self._succession:
            signed = await self._services.library.release(ctx.params["id"])
            tombstone = await self._services.publisher.withdraw(signed, reason)
            await announce(self._services, tombstone)
        return Reply.ok(_published(tombstone))

    @route("POST", "/api/v1/join", scope=Scope.ADMIN)
    async def join(self, ctx: ApiContext) -> Reply:
        """Keep a release for the swarm: fetch all of it, hold it, announce it."""
        text = ctx.body.text("link")
        if is_link(text):
            self._services.library.note_link(typed_link(text))

        async def work(report: Report) -> Event:
            target = await self._services.library.resolve(text)
            until_s = self._services.clock.now_s() + self._services.settings.operator.pledge_length_s
            await self._services.keeper.hold(target, until_s)
            result = await fetch_tracks(self._services, target, None, report)
            await self._services.keeper.announce(target)
            return result

        return Reply.stream(self._services.jobs.events(work))

    async def _in_force(self, published: Published) -> Published:
        """Return a release as it is now: what was published before may have been updated since."""
        if not published.is_unchanged:
            return published
        latest = await self._services.library.resolve_release_cid(published.signed.cid)
        return replace(published, signed=latest.signed, tracks=latest.tracks)

    async def _status(self, signed: SignedRelease) -> dict[str, object]:
        status = self._services.replication.status(signed.cid)
        return {
            "id": release_text(signed.release.release_id),
            "title": signed.release.title,
            "replicas": status.replicas,
            "wanted": status.wanted,
            "safe_to_close": status.is_safe_to_close,
            "message": status.message,
            "pledges": [
                {
                    "peer": each.peer,
                    "account": account_text(each.account),
                    "state": each.state,
                    "until": each.until_s,
                    "reason": each.reason,
                }
                for each in status.pledges
            ],
        }


def _published(published: Published) -> Event:
    release = published.signed.release
    return {
        "release": release_text(release.release_id),
        "cid": cid_text(published.signed.cid),
        "title": release.title,
        "artist": release.artist,
        "version": release.version,
        "withdrawn": release.withdrawn,
        "is_unchanged": published.is_unchanged,
        "repaired": {"segments": published.mended.segments, "blocks": published.mended.blocks},
        "missing": published.mended.missing,
        "bytes": published.stored_bytes,
        "tracks": [
            {"id": track_text(t.track_id), "title": t.title, "artist": t.artist, "duration_ms": t.duration_ms}
            for _, t in published.tracks
        ],
        "skipped": _skipped(published.skipped),
        "warnings": [],
    }


def _preview(preview: Preview) -> Event:
    return {
        "title": preview.title,
        "artist": preview.artist,
        "bytes": 2 * preview.source_bytes,
        "tracks": [
            {
                "id": None,
                "title": examined.tags.title or source.path.stem,
                "artist": examined.tags.artist or preview.artist,
                "duration_ms": examined.analysis.duration_ms,
            }
            for source, examined in preview.tracks
        ],
        "skipped": _skipped(preview.skipped),
        "warnings": [
            f"{source.path.name} {warning}"
            for source, examined in preview.tracks
            for warning in examined.tags.warnings
        ],
    }


def _skipped(skipped: tuple[Skipped, ...]) -> list[dict[str, str]]:
    return [{"file": each.path.name, "reason": each.reason} for each in skipped]
