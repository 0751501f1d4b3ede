"""What outlives a single token: sessions of the player page and tokens of scripts, and what was revoked.

Both are held in memory for the check on every request and written through to the database. A token that
names a grant holds only while the grant is there, so revoking is deleting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from marina.clock import Clock
from marina.errors import UsageError
from marina.schema import U64, Size, decode_record, encode_record, record
from node.api.scopes import Scope, parse_scopes
from storage.kv import KeyValueStore, Table

GRANTS_MAX = 512
"""Sessions and script tokens together; more than a person can have use for."""
REVOKED_MAX = 10_000
NAME_BYTES_MAX = 128
_SCRIPT, _SESSION = "script", "session"


@record("marina/api-grant/1")
@dataclass(frozen=True, slots=True)
class Grant:
    """One session or script token.

    Attributes:
        id: 16 hex digits.
        kind: ``session`` or ``script``.
        name: what the owner called it.
        scopes: what it may do.
        issued_s: Unix seconds.
        expires_s: Unix seconds from which on it is gone.
        refresh_hash: SHA-256 of the current refresh secret; empty for scripts.
        spent_hash: SHA-256 of the refresh secret before that; showing it again ends the session.
    """

    id: Annotated[str, Size(16, 16)]
    kind: Annotated[str, Size(1, 16)]
    name: Annotated[str, Size(0, NAME_BYTES_MAX)]
    scopes: Annotated[tuple[Annotated[str, Size(1, 32)], ...], Size(1, 16)]
    issued_s: U64
    expires_s: U64
    refresh_hash: Annotated[bytes, Size(0, 32)] = b""
    spent_hash: Annotated[bytes, Size(0, 32)] = b""

    @property
    def subject(self) -> str:
        """The ``sub`` of this grant's tokens."""
        return f"{self.kind}:{self.id}"

    @property
    def is_script(self) -> bool:
        """Whether one token is the whole grant."""
        return self.kind == _SCRIPT

    def scope_set(self) -> frozenset[Scope]:
        """Return the scopes as such."""
        return parse_scopes(self.scopes)


@record("marina/api-revoked/1")
@dataclass(frozen=True, slots=True)
class _Revoked:
    at_s: U64
    until_s: U64


class Grants:
    """The live grants. Call ``load`` before anything else."""

    def __init__(self, *, store: KeyValueStore, clock: Clock) -> None:
        self._table = Table(store, "api_grants")
        self._clock = clock
        self._grants: dict[str, Grant] = {}

    async def load(self) -> None:
        """Read all grants and drop those that ended meanwhile."""
        rows = await self._table.scan(limit=GRANTS_MAX)
        self._grants = {key.decode(): decode_record(Grant, value) for key, value in rows}
        await self._prune()

    def get(self, subject: str) -> Grant | None:
        """Return the live grant that a token's ``sub`` names."""
        kind, _, grant_id = subject.partition(":")
        grant = self._grants.get(grant_id)
        if grant is None or grant.kind != kind or grant.expires_s <= self._clock.now_s():
            return None
        return grant

    def by_id(self, grant_id: str) -> Grant | None:
        """Return the live grant of an id."""
        return self.get(f"{_SESSION}:{grant_id}") or self.get(f"{_SCRIPT}:{grant_id}")

    def live(self) -> list[Grant]:
        """Return every live grant, the oldest first."""
        now_s = self._clock.now_s()
        return sorted(
            (grant for grant in self._grants.values() if grant.expires_s > now_s),
            key=lambda grant: (grant.issued_s, grant.id),
        )

    async def add(
        self,
        *,
        grant_id: str,
        kind: str,
        name: str,
        scopes: frozenset[Scope],
        ttl_s: int,
        secret: bytes = b"",
    ) -> Grant:
        """Store and return a new grant.

        Raises:
            UsageError: the name is too long, or there are too many grants.
        """
        if len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX or not name.isprintable():
            raise UsageError(f"the name must be at most {NAME_BYTES_MAX} bytes without control characters")
        await self._prune()
        if len(self._grants) >= GRANTS_MAX:
            await self._drop_oldest_session()
        now_s = self._clock.now_s()
        words = tuple(sorted(scope.value for scope in scopes))
        grant = Grant(grant_id, kind, name, words, now_s, now_s + ttl_s, secret)
        await self._put(grant)
        return grant

    async def rotate(self, grant: Grant, refresh_hash: bytes, ttl_s: int) -> None:
        """Replace a session's refresh secret and start its time anew."""
        expires_s = self._clock.now_s() + ttl_s
        await self._put(
            replace(grant, refresh_hash=refresh_hash, spent_hash=grant.refresh_hash, expires_s=expires_s)
        )

    async def remove(self, grant_id: str) -> bool:
        """Delete a grant and return whether it was there; its tokens fail from now on."""
        if self._grants.pop(grant_id, None) is None:
            return False
        await self._table.delete(grant_id.encode())
        return True

    async def _put(self, grant: Grant) -> None:
        # Memory first: two refreshes at once must not both see the old secret.
        self._grants[grant.id] = grant
        await self._table.put(grant.id.encode(), encode_record(grant))

    async def _prune(self) -> None:
        now_s = self._clock.now_s()
        for grant_id in [each.id for each in self._grants.values() if each.expires_s <= now_s]:
            await self.remove(grant_id)

    async def _drop_oldest_session(self) -> None:
        sessions = [grant for grant in self.live() if not grant.is_script]
        if not sessions:
            raise UsageError(f"there are {GRANTS_MAX} tokens: revoke some with 'marina token revoke ID'")
        await self.remove(sessions[0].id)


class Revocations:
    """Ids and subjects of tokens that were ended before their time."""

    def __init__(self, *, store: KeyValueStore, clock: Clock) -> None:
        self._table = Table(store, "api_revoked")
        self._clock = clock
        self._revoked: dict[str, _Revoked] = {}

    async def load(self) -> None:
        """Read what is revoked."""
        rows = await self._table.scan(limit=REVOKED_MAX)
        self._revoked = {key.decode(): decode_record(_Revoked, value) for key, value in rows}
        await self._prune()

    def is_revoked(self, *, jti: str, sub: str, iat: int) -> bool:
        """Return whether the token's id, or everything of its subject up to its time, is revoked."""
        if f"jti:{jti}" in self._revoked:
            return True
        entry = self._revoked.get(f"sub:{sub}")
        return entry is not None and iat <= entry.at_s

    async def revoke_id(self, jti: str, ttl_s: int) -> None:
        """Refuse one token; forgotten after ``ttl_s``, when it has expired anyway."""
        await self._add(f"jti:{jti}", ttl_s)

    async def revoke_subject(self, sub: str, ttl_s: int) -> None:
        """Refuse every token of a subject issued until now."""
        await self._add(f"sub:{sub}", ttl_s)

    async def _add(self, name: str, ttl_s: int) -> None:
        await self._prune()
        if len(self._revoked) >= REVOKED_MAX:
            raise UsageError("too many tokens were revoked at once: try again in 15 minutes")
        now_s = self._clock.now_s()
        entry = _Revoked(now_s, now_s + ttl_s)
        self._revoked[name] = entry
        await self._table.put(name.encode(), encode_record(entry))

    async def _prune(self) -> None:
        now_s = self._clock.now_s()
        for name in [name for name, entry in self._revoked.items() if entry.until_s <= now_s]:
            del self._revoked[name]
            await self._table.delete(name.encode())
