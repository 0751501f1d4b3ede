"""Ways in: links to the player page, its sessions, and tokens for scripts."""

from __future__ import annotations

from datetime import UTC, datetime

from node.api.errors import BadRequestError
from node.api.grants import NAME_BYTES_MAX, Grant
from node.api.reply import Reply
from node.api.router import ApiContext, Open, route
from node.api.scopes import PLAYER_SCOPES, Scope, parse_scopes, scope_text
from node.api.sessions import CODE_TTL_S, OneTimeCodes, Sessions, SessionTokens
from node.api.tokens import TokenAuthority
from node.units import parse_span_s


class SessionRoutes:
    """One-time links, sessions of the page, and tokens for scripts."""

    def __init__(self, *, tokens: TokenAuthority, codes: OneTimeCodes, sessions: Sessions) -> None:
        self._tokens = tokens
        self._codes = codes
        self._sessions = sessions

    @route("POST", "/api/v1/player-link", scope=Scope.ADMIN)
    async def link(self, ctx: ApiContext) -> Reply:
        """Answer a link to the player page: valid for 60 s, once."""
        code = self._codes.issue(PLAYER_SCOPES)
        # Behind '#': browsers send a fragment to nobody, so no log and no Referer has it.
        return Reply.created({"link": f"{ctx.base_url}/#code={code}", "validSeconds": int(CODE_TTL_S)})

    @route("POST", "/api/v1/session", scope=Open.LOGIN)
    async def open_session(self, ctx: ApiContext) -> Reply:
        """Exchange a link's code for the tokens of a session."""
        return Reply.created(_pair(await self._sessions.open(ctx.body.text("code", bytes_max=128))))

    @route("POST", "/api/v1/session/refresh", scope=Open.LOGIN)
    async def refresh(self, ctx: ApiContext) -> Reply:
        """Exchange a refresh token for the next pair; the one shown is spent."""
        return Reply.ok(_pair(await self._sessions.refresh(ctx.body.text("refreshToken", bytes_max=256))))

    @route("DELETE", "/api/v1/session", scope=tuple(Scope))
    async def close_session(self, ctx: ApiContext) -> Reply:
        """End the session or token that asks."""
        assert ctx.token is not None  # the route has a scope
        grant = self._tokens.grants.get(ctx.token.subject)
        await self._tokens.revoke(grant.id if grant is not None else ctx.token.token_id)
        return Reply.ok(message="The session is over.")

    @route("POST", "/api/v1/tokens", scope=Scope.ADMIN)
    async def create(self, ctx: ApiContext) -> Reply:
        """Answer a new token for a script. It is shown this once; only its id is kept."""
        assert ctx.token is not None  # the route has a scope
        scopes = parse_scopes(ctx.body.texts("scopes", items_max=16, bytes_max=32))
        beyond = scopes - ctx.token.scopes
        if beyond:
            raise BadRequestError(f"a token cannot give what it has not: {scope_text(beyond)}")
        name = ctx.body.text("name", "script", bytes_max=NAME_BYTES_MAX)
        ttl_s = parse_span_s(ctx.body.text("ttl", "15m", bytes_max=16))
        token, grant = await self._tokens.create_script_token(name, scopes, ttl_s)
        return Reply.created({"token": token, **_grant(grant)})

    @route("GET", "/api/v1/tokens", scope=Scope.ADMIN)
    async def list_tokens(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the sessions and script tokens that hold, without their secrets."""
        return Reply.ok({"items": [_grant(grant) for grant in self._tokens.grants.live()]})

    @route("DELETE", "/api/v1/tokens/{id}", scope=Scope.ADMIN)
    async def revoke(self, ctx: ApiContext) -> Reply:
        """End a session, a script token, one token by its ``jti``, or with ``cli`` the command line's."""
        await self._tokens.revoke(ctx.params["id"])
        return Reply.ok({"id": ctx.params["id"]}, message="Revoked.")


def _pair(tokens: SessionTokens) -> dict[str, object]:
    return {
        "accessToken": tokens.access,
        "expiresIn": tokens.access_ttl_s,
        "refreshToken": tokens.refresh,
        "scopes": sorted(tokens.scopes),
    }


def _grant(grant: Grant) -> dict[str, object]:
    until = datetime.fromtimestamp(grant.expires_s, UTC).isoformat(timespec="seconds")
    return {
        "id": grant.id,
        "kind": grant.kind,
        "name": grant.name,
        "scopes": [*grant.scopes],
        "until": until.replace("+00:00", "Z"),
    }
