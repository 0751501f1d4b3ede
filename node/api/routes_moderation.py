"""The DAO's moderation list: what it names, whether this node follows it, and a list to propose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marina.cid import cid_text
from marina.errors import MalformedError, NetworkError, NotFoundError, UsageError
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.chain.adopted import NO_LIST
from node.chain.moderation import Moderation

if TYPE_CHECKING:
    from governance.moderation import Entry

_PAGE_MAX = 1000
_SHOWN_MAX = 200


class ModerationRoutes:
    """Reads and makes moderation lists."""

    def __init__(self, *, moderation: Moderation) -> None:
        self._moderation = moderation

    @route("GET", "/api/v1/dao/moderation", scope=Scope.READ_MUSIC)
    async def show(self, ctx: ApiContext) -> Reply:
        """Answer the adopted list, or with ``name`` the one entry of a release, track or CID.

        While the chain does not answer it is the one in force, and ``current`` is false.
        """
        from governance.moderation import list_cid

        in_force, is_known = self._moderation.in_force, True
        try:
            digest = await self._moderation.adopted()
        except NetworkError:
            if in_force == NO_LIST:
                raise
            digest, is_known = in_force, False
        facts: dict[str, Any] = {
            "current": is_known,
            "digest": None if digest == NO_LIST else digest.hex(),
            "cid": None if digest == NO_LIST else cid_text(list_cid(digest)),
            "followed": self._moderation.is_followed,
            "in_force": None if in_force == NO_LIST else in_force.hex(),
            "since_s": self._moderation.since_s or None,
            "message": (await self._moderation.check()).sentence,
            "entries": 0,
            "items": [],
        }
        if digest == NO_LIST:
            return Reply.ok(facts)
        entries = (await self._moderation.read(digest)).entries
        name = ctx.query.text("name", None, bytes_max=128)
        if name is not None:
            entries = tuple(each for each in entries if str(each).startswith(_bare(name)))
            if not entries:
                raise NotFoundError(f"the DAO's moderation list does not name {name!r}")
        offset = ctx.query.whole("offset", 0, low=0, high=10**6)
        limit = ctx.query.whole("limit", 100, low=1, high=_PAGE_MAX)
        shown = entries[offset : offset + limit]
        return Reply.ok({**facts, "entries": len(entries), "items": [_entry(each) for each in shown]})

    @route("POST", "/api/v1/dao/moderation", scope=Scope.MODERATE_CONTENT)
    async def make(self, ctx: ApiContext) -> Reply:
        """Make a list of a text ``file`` of this machine; this node keeps and serves its block."""
        made = await self._moderation.make(Path(ctx.body.text("file")))
        return Reply.created(
            {
                "digest": made.digest.hex(),
                "cid": cid_text(made.cid),
                "bytes": made.size_bytes,
                "previous": None if made.previous == NO_LIST else made.previous.hex(),
                "compared": made.is_compared,
                "entries": len(made.entries),
                "added": _counted(made.added),
                "removed": _counted(made.removed),
            }
        )

    @route("POST", "/api/v1/dao/moderation/take", scope=Scope.MODERATE_CONTENT)
    async def take(self, ctx: ApiContext) -> Reply:
        """Take the adopted list from a ``file`` that holds its block, where no peer has it."""
        digest, found = await self._moderation.take(Path(ctx.body.text("file")))
        return Reply.ok({"digest": digest.hex(), "entries": len(found.entries)})

    @route("GET", "/api/v1/dao/moderation/{digest}/block", scope=Scope.READ_MUSIC)
    async def block(self, ctx: ApiContext) -> Reply:
        """Answer the block of a list, to be carried to somebody by other ways."""
        from governance.moderation import encode_list
        from governance.values import parse_digest

        try:
            digest = parse_digest(ctx.params["digest"])
            _, block = encode_list(await self._moderation.read(digest))
        except MalformedError as err:
            raise NotFoundError(f"this is no moderation list: {err}") from err
        return Reply.raw(block, "application/octet-stream")


def _bare(name: str) -> str:
    bare = name.strip().removeprefix("marina:")
    if not bare:
        raise UsageError("give the release (rl_…), track (tr_…) or CID that is asked about")
    return bare


def _entry(each: Entry) -> dict[str, str]:
    name, _, _ = str(each).partition("  ")
    return {"id": name, "reason": each.reason}


def _counted(entries: Sequence[Entry]) -> dict[str, Any]:
    return {"count": len(entries), "items": [_entry(each) for each in entries[:_SHOWN_MAX]]}
