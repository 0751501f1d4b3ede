"""What the node is and does: status, peers, storage, backups, stopping."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import trio

from marina import __version__
from marina.cid import Cid, cid_text
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.ids import PeerId, account_text, release_text, track_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.checks import NO_PEERS
from node.jobs import Event, Report
from node.naming import BlockName
from node.services import Services
from node.typed import typed_link
from p2p import addresses
from p2p.announce import AnnounceHealth
from p2p.links import is_link
from p2p.peerid import to_libp2p
from storage.backup import create_backup
from storage.backup_schedule import backup_path
from storage.gc import Collection
from storage.repo import Reason, VerifyProgress

log = logging.getLogger("marina.node")


class ControlRoutes:
    """The operator's side of the API."""

    def __init__(self, *, services: Services, stop: Callable[[], None], started_s: float) -> None:
        self._services = services
        self._stop = stop
        self._started_s = started_s

    @route("GET", "/api/v1/status", scope=Scope.READ_MUSIC)
    async def status(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the node's story in one object."""
        services = self._services
        stat = await services.blocks.stat()
        report = await services.health.report()
        peers = services.host.connected_peers()
        return Reply.ok(
            {
                "peer": services.host.peer_id,
                "account": account_text(services.owner.account),
                "version": __version__,
                "profile": services.settings.profile,
                "uptime_s": round(trio.current_time() - self._started_s),
                "health": report.state.value,
                "locked": services.owner.is_locked,
                "swarm": {
                    "peers": len(peers),
                    "bytes_in": round(services.traffic("received")),
                    "bytes_out": round(services.traffic("sent")),
                    "hint": None if peers else NO_PEERS,
                },
                "storage": {"bytes_used": stat.bytes_used, "bytes_quota": stat.bytes_quota},
                "library": await services.library.counts(),
                "chain": report.components["chain"].sentence,
                "provide": _provide(services.discovery.announce_health()),
            }
        )

    @route("GET", "/api/v1/id", scope=Scope.READ_MUSIC)
    async def identity(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer peer id, account and addresses."""
        return Reply.ok(
            {
                "peer": self._services.host.peer_id,
                "account": account_text(self._services.owner.account),
                "addresses": self._services.host.listen_addrs,
            }
        )

    @route("GET", "/api/v1/peers", scope=Scope.READ_MUSIC)
    async def peers(self, ctx: ApiContext) -> Reply:
        """Answer connected and banned peers."""
        host = self._services.host
        banned = host.scores.banned()
        items: list[dict[str, Any]] = []
        for peer in dict.fromkeys([*host.connected_peers(), *banned]):
            score = host.scores.score(peer)
            rtt_s = host.rtt_s(peer)
            items.append(
                {
                    "peer": peer,
                    "address": ", ".join((await self._services.swarm.addresses_of(peer))[:1]) or "inbound",
                    "score": round(score.success, 3),
                    "bytes_per_s": round(score.bytes_per_s),
                    "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 1),
                    "banned": peer in banned,
                    "bannedForS": round(banned.get(peer, 0)),
                }
            )
        key = "score" if ctx.query.choice("sort", ("score", "rate"), "score") == "score" else "bytes_per_s"
        items.sort(key=lambda each: float(each[key]), reverse=True)
        return Reply.ok({"items": items, "hint": NO_PEERS})

    @route("POST", "/api/v1/peers/connect", scope=Scope.ADMIN)
    async def connect(self, ctx: ApiContext) -> Reply:
        """Dial an address that ends in /p2p/PEER, or the providers of a link."""
        text = ctx.body.text("address")
        if is_link(text):
            link = typed_link(text)
            self._services.library.note_link(link)
            for provider in link.providers:
                if await self._services.swarm.reach(provider.peer, provider.addresses):
                    return Reply.ok({"peer": provider.peer})
            raise NotFoundError("none of the link's providers answers now")
        try:
            parts = addresses.parse(text)
        except MalformedError as err:
            raise UsageError(f"{err}: give one like /ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…") from err
        if parts.peer is None:
            raise UsageError("the address must end in /p2p/ and the peer's id")
        await self._services.swarm.meet(parts.peer, [text])
        await self._services.swarm.remember(parts.peer, [text])
        return Reply.ok({"peer": parts.peer})

    @route("POST", "/api/v1/peers/ban", scope=Scope.MODERATE_CONTENT)
    async def ban(self, ctx: ApiContext) -> Reply:
        """Refuse a peer for a while."""
        peer = self._peer(ctx.body.text("peer", bytes_max=128))
        if peer == self._services.host.peer_id:
            raise UsageError("that is this node itself: name another peer, see 'marina peers'")
        seconds = ctx.body.whole("seconds", 86_400, low=60, high=365 * 86_400)
        context = {"peer": peer, "seconds": seconds, "reason": ctx.body.text("reason", "", bytes_max=1000)}
        await self._services.host.ban(peer, seconds)
        await self._services.bans.save()
        log.info("peer banned", extra={"context": context})
        return Reply.ok({"peer": peer})

    @route("POST", "/api/v1/peers/unban", scope=Scope.MODERATE_CONTENT)
    async def unban(self, ctx: ApiContext) -> Reply:
        """Let a peer in again."""
        peer = self._peer(ctx.body.text("peer", bytes_max=128))
        self._services.host.scores.unban(peer)
        await self._services.bans.save()
        log.info("peer unbanned", extra={"context": {"peer": peer}})
        return Reply.ok({"peer": peer})

    @route("GET", "/api/v1/repo/stat", scope=Scope.READ_MUSIC)
    async def repo_stat(self, ctx: ApiContext) -> Reply:
        """Answer bytes by class against the quota, and why things are kept."""
        stat = await self._services.repo.stat(why=ctx.query.flag("why", default=False), largest=100)
        names = await self._services.names.of(each.cid for each in stat.largest)
        return Reply.ok(
            {
                "bytes_used": stat.total.bytes_used,
                "bytes_charged": stat.total.bytes_charged,
                "bytes_quota": stat.total.bytes_quota,
                "blocks": stat.total.blocks,
                "renditions": stat.total.renditions,
                "by_class": {kind.name.lower(): size for kind, size in stat.charged_bytes.items()},
                "roots": [_reason(each, names.get(each.cid)) for each in stat.largest],
            }
        )

    @route("POST", "/api/v1/repo/verify", scope=Scope.ADMIN)
    async def verify(self, ctx: ApiContext) -> Reply:
        """Hash everything; with ``heal`` fetch again what is damaged or missing."""
        is_healing = ctx.body.flag("heal", default=False)
        heal = self._heal if is_healing else None

        async def events() -> AsyncGenerator[Event, None]:
            if is_healing:
                await self._services.healer.restore()
            last: VerifyProgress | None = None
            told_s = float("-inf")
            async with aclosing(self._services.repo.verify(heal)) as progress:
                async for last in progress:
                    if trio.current_time() - told_s > 0.25 and not last.is_done:
                        told_s = trio.current_time()
                        yield {
                            "event": "progress",
                            "done": last.checked,
                            "total": last.total,
                            "unit": "blocks",
                        }
            assert last is not None  # a verification ends with its result
            yield {
                "event": "result",
                "checked": last.checked,
                "damaged": len(last.damaged),
                "healed": len(last.damaged) - last.unhealed,
                "not_found": last.unhealed if is_healing else 0,
                "blocks": [cid_text(each.cid) for each in last.damaged[:100]],
            }

        return Reply.stream(events())

    @route("POST", "/api/v1/repo/gc", scope=Scope.ADMIN)
    async def gc(self, ctx: ApiContext) -> Reply:
        """Remove what is only cache."""
        is_dry_run = ctx.body.flag("dry_run", default=False)
        return Reply.ok(_collection(await self._services.repo.gc(dry_run=is_dry_run)))

    @route("POST", "/api/v1/backup", scope=Scope.ADMIN)
    async def backup(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Write an encrypted backup now."""
        services = self._services

        async def work(report: Report) -> Event:
            await report({"done": 0, "total": 1, "unit": "files"})
            path = backup_path(services.home.backups, services.clock.now_s())
            summary = await create_backup(
                path,
                home=services.home.root,
                store=services.store,
                owner=services.owner,
                clock=services.clock,
            )
            return {"path": str(path), "size": path.stat().st_size, "records": summary.pairs}

        return Reply.stream(services.jobs.events(work))

    @route("POST", "/api/v1/stop", scope=Scope.ADMIN)
    async def stop(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Stop the node; it is gone within five seconds."""
        self._stop()
        return Reply.ok({"stopping": True})

    async def _heal(self, cid: Cid) -> bytes:
        release = self._services.swarm.release_of(cid)
        return await self._services.releases.block(release or cid, cid)

    def _peer(self, typed: str) -> PeerId:
        host = self._services.host
        known = [*host.connected_peers(), *host.scores.banned()]
        found = [peer for peer in known if peer == typed or peer.endswith(typed) or peer.startswith(typed)]
        if len(set(found)) == 1:
            return found[0]
        if len(set(found)) > 1:
            raise UsageError(f"{typed!r} fits {len(set(found))} peers: give more of its id")
        try:
            to_libp2p(PeerId(typed))  # of a peer that is not connected only a whole id will do
        except MalformedError as err:
            raise NotFoundError(
                f"no peer {typed!r} is connected: see 'marina peers', or give its whole id"
            ) from err
        return PeerId(typed)


def _provide(health: AnnounceHealth) -> dict[str, object]:
    return {
        "state": health.state.value,
        "roots": health.roots,
        "due": health.due,
        "behind_s": health.behind_s,
        "text": health.message,
    }


def _reason(each: Reason, name: BlockName | None) -> dict[str, object]:
    pins = [pin.retention.name.lower() for pin in each.pins]
    why = ", ".join(pins) or "cache: played or served lately"
    return {
        "root": cid_text(each.cid),
        "kind": name.kind if name else None,
        "title": name.title if name else None,
        "artist": name.artist if name else None,
        "release": release_text(name.release_id) if name else None,
        "track": track_text(name.track_id) if name and name.track_id else None,
        "class": each.retention.name.lower(),
        "bytes": each.charge_bytes,
        "why": why + (", playing now" if each.is_playing else ""),
    }


def _collection(done: Collection) -> dict[str, object]:
    return {
        "bytes": done.freed_bytes,
        "evicted": [
            {"title": cid_text(each.cid), "bytes": each.charge_bytes, "why": each.retention.name.lower()}
            for each in done.evicted
        ],
    }
