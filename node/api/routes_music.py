"""Finding, playing, fetching and sharing music."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from marina.cid import Cid
from marina.errors import MalformedError, NotFoundError
from marina.ids import ReleaseId, release_text, track_text
from marina.secret import Secret
from node.api.reply import IMMUTABLE, Reply
from node.api.router import ApiContext, Open, route
from node.api.scopes import Scope
from node.fetching import fetch_tracks
from node.jobs import Event, Report
from node.library import Target
from node.replication import release_bytes, release_cids
from node.services import Services
from node.sharing import share_link
from storage.retention import Retention
from streaming.http import stream_response
from streaming.quality import Quality
from streaming.tickets import issue_ticket, open_ticket, session_of

_QUALITIES = tuple(each.value for each in Quality)


class MusicRoutes:
    """Search, show, play, get, pin, share."""

    def __init__(self, *, services: Services, ticket_key: Secret[bytes]) -> None:
        self._services = services
        self._library = services.library
        self._playback = services.playback
        self._ticket_key = ticket_key

    @route("GET", "/api/v1/search", scope=Scope.READ_MUSIC)
    async def search(self, ctx: ApiContext) -> Reply:
        """Answer numbered results of this node and, unless ``swarm=0``, of its peers."""
        query = ctx.query.text("q", bytes_max=1024)
        ask = self._services.search.ask if ctx.query.flag("swarm", default=True) else None
        client = ctx.token.subject if ctx.token else "cli"
        limit = ctx.query.whole("limit", 20, low=1, high=100)
        found = await self._library.search(query, limit=limit, swarm=ask, client=client)
        if not found["items"]:
            found["hint"] = _no_results_hint(len(self._services.host.connected_peers()))
        return Reply.ok(found)

    @route("GET", "/api/v1/show/{target}", scope=Scope.READ_MUSIC)
    async def show(self, ctx: ApiContext) -> Reply:
        """Answer all about a track or release."""
        return Reply.ok(await self._library.show(ctx.params["target"]))

    @route("POST", "/api/v1/show", scope=Scope.READ_MUSIC)
    async def show_link(self, ctx: ApiContext) -> Reply:
        """Answer all about what a link, which does not fit a path, names."""
        return Reply.ok(await self._library.show(ctx.body.text("target")))

    @route("POST", "/api/v1/play", scope=Scope.READ_MUSIC)
    async def play(self, ctx: ApiContext) -> Reply:
        """Open a session on a track and answer the address of its sound."""
        target = await self._library.resolve(ctx.body.text("target"))
        quality = Quality(ctx.body.choice("quality", _QUALITIES, self._services.settings.playback.quality))
        is_offline = ctx.body.flag("offline", default=False)
        number = ctx.body.whole("number", 1, low=1, high=len(target.meant))
        track = target.meant[number - 1]
        session = await self._playback.open(track, quality, is_offline=is_offline)
        following = ctx.body.text("next", None, bytes_max=256)
        if following is not None and self._services.settings.playback.prefetch_next and not is_offline:
            self._playback.queue(session, (await self._library.resolve(following)).meant[0], quality)
        ticket = issue_ticket(self._ticket_key, session.session_id, self._services.clock.now_s())
        facts = self._playback.facts(session)
        queue = [track_text(each.track_id) for each in target.meant]
        return Reply.created({**facts, "stream_url": f"/api/v1/stream/{ticket}", "queue": queue})

    @route("GET", "/api/v1/player/sessions/{id}", scope=Scope.READ_MUSIC)
    async def session(self, ctx: ApiContext) -> Reply:
        """Answer how a session is doing: which peer sent which part, rates, first sound."""
        session = self._playback.by_text(ctx.params["id"])
        return Reply.ok(self._playback.facts(session))

    @route("POST", "/api/v1/player/sessions/{id}/prefetch", scope=Scope.READ_MUSIC)
    async def prefetch(self, ctx: ApiContext) -> Reply:
        """Fetch the rest of a session's rendition behind what its player waits for."""
        session = self._playback.by_text(ctx.params["id"])
        self._playback.prefetch(session)
        return Reply.ok(self._playback.facts(session))

    @route("DELETE", "/api/v1/player/sessions/{id}", scope=Scope.READ_MUSIC)
    async def close(self, ctx: ApiContext) -> Reply:
        """End a session."""
        self._playback.close(self._playback.by_text(ctx.params["id"]).session_id)
        return Reply.ok()

    @route("GET", "/api/v1/stream/{ticket}", scope=Open.TICKET)
    async def stream(self, ctx: ApiContext) -> Reply:
        """Answer sound, with ranges; the ticket in the path stands for the token."""
        ticket = ctx.params["ticket"]
        session = self._playback.get(session_of(ticket))
        open_ticket(
            self._ticket_key,
            ticket,
            now_s=self._services.clock.now_s(),
            is_alive=self._playback.is_alive(session),
        )

        async def answer(scope: AsgiScope, receive: Receive, send: Send) -> None:
            await stream_response(session, Request(scope, receive))(scope, receive, send)

        return Reply.asgi(answer)

    @route("GET", "/api/v1/artwork/{target}", scope=Scope.READ_MUSIC)
    async def artwork(self, ctx: ApiContext) -> Reply:
        """Answer the cover of a track or release, a JPEG made by its publisher's sandbox."""
        target = await self._library.resolve(ctx.params["target"])
        track = target.meant[0]
        if track.artwork is None:
            return Reply(status=404, body=b"", content_type="image/jpeg")
        data = await self._services.releases.block(target.signed.cid, track.artwork)
        if not data.startswith(b"\xff\xd8\xff"):
            return Reply(status=404, body=b"", content_type="image/jpeg")
        return Reply.raw(data, "image/jpeg", cache=IMMUTABLE)

    @route("POST", "/api/v1/get", scope=Scope.READ_MUSIC)
    async def get(self, ctx: ApiContext) -> Reply:
        """Fetch tracks completely; progress as it goes."""
        target = await self._library.resolve(ctx.body.text("target"))
        quality = Quality(ctx.body.choice("quality", _QUALITIES, Quality.ORIGINAL.value))
        return Reply.stream(self._fetching(target, [quality]))

    @route("POST", "/api/v1/pins", scope=Scope.ADMIN)
    async def pin(self, ctx: ApiContext) -> Reply:
        """Fetch a release in every quality and keep it."""
        target = await self._library.resolve(ctx.body.text("target"))
        await self._services.blocks.pins.pin(release_cids(target), Retention.PINNED)
        return Reply.stream(self._fetching(target, None))

    @route("GET", "/api/v1/pins", scope=Scope.READ_MUSIC)
    async def pins(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the releases that are kept, and why."""
        items: list[dict[str, object]] = []
        page = await self._services.catalog.newest_releases(limit=500)
        for entry in page.items:
            why = await self._services.blocks.pins.retention(Cid(entry.cid))
            if why > Retention.SWARM and not entry.is_withdrawn:
                item = {
                    "id": release_text(ReleaseId(entry.release_id)),
                    "title": entry.title,
                    "why": why.name.lower(),
                }
                items.append({**item, **await self._pinned_bytes(Cid(entry.cid))})
        return Reply.ok({"items": items})

    async def _pinned_bytes(self, release: Cid) -> dict[str, object]:
        try:
            return {"bytes": release_bytes(await self._library.resolve_release_cid(release))}
        except (NotFoundError, MalformedError) as err:
            return {"bytes": None, "error": str(err)}  # one that is incomplete hides no other

    @route("DELETE", "/api/v1/pins/{target}", scope=Scope.ADMIN)
    async def unpin(self, ctx: ApiContext) -> Reply:
        """Keep a release no longer; it goes when room is needed."""
        target = await self._library.resolve(ctx.params["target"])
        removed = [
            await self._services.blocks.pins.unpin(cid, Retention.PINNED) for cid in release_cids(target)
        ]
        return Reply.ok({"removed": sum(removed)})

    @route("POST", "/api/v1/share", scope=Scope.READ_MUSIC)
    async def share(self, ctx: ApiContext) -> Reply:
        """Answer a link to a track or release with the addresses of who has it."""
        target = await self._library.resolve(ctx.body.text("target"))
        return Reply.ok(share_link(self._services, target))

    def _fetching(self, target: Target, qualities: list[Quality] | None) -> AsyncIterator[Event]:
        async def work(report: Report) -> Event:
            return await fetch_tracks(self._services, target, qualities, report)

        return self._services.jobs.events(work)


def _no_results_hint(peers: int) -> str:
    if peers:
        return "Nobody connected here has it either; try fewer words."
    return "This node has no peers yet: open a marina: link, or see 'marina doctor'."
