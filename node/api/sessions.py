"""The player page's way in: a one-time code becomes a session with rotating refresh tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from marina.clock import Clock
from node.api.errors import UnauthenticatedError
from node.api.grants import Grant
from node.api.scopes import Scope
from node.api.tokens import ACCESS_TTL_S, TokenAuthority

CODE_TTL_S = 60.0
CODES_MAX = 16
REFRESH_TTL_S = 30 * 86_400
_NEW_LINK = "open a new link with 'marina up'"


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """What a page gets.

    Attributes:
        access: token for the Authorization header.
        access_ttl_s: seconds it is valid.
        refresh: shown once for the next pair.
        scopes: what both may do.
    """

    access: str
    access_ttl_s: int
    refresh: str
    scopes: frozenset[Scope]

    def __repr__(self) -> str:
        return "SessionTokens(***)"


class OneTimeCodes:
    """Codes for links that a person opens: 192 random bits, 60 seconds, one use."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._codes: dict[bytes, tuple[float, frozenset[Scope]]] = {}

    def issue(self, scopes: frozenset[Scope]) -> str:
        """Return a new code; of too many the oldest stops working."""
        self._prune()
        while len(self._codes) >= CODES_MAX:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(24)
        self._codes[_hash(code)] = (self._clock.monotonic_s() + CODE_TTL_S, scopes)
        return code

    def redeem(self, code: str) -> frozenset[Scope]:
        """Return the scopes of a code and forget it.

        Raises:
            UnauthenticatedError: unknown, used or too old.
        """
        self._prune()
        found = self._codes.pop(_hash(code), None)
        if found is None:
            raise UnauthenticatedError(
                f"this link was used already or is older than {CODE_TTL_S:.0f} s: {_NEW_LINK}", is_guess=True
            )
        return found[1]

    def _prune(self) -> None:
        now_s = self._clock.monotonic_s()
        for key in [key for key, (until_s, _) in self._codes.items() if until_s <= now_s]:
            del self._codes[key]


class Sessions:
    """Opens, refreshes and closes sessions."""

    def __init__(self, *, tokens: TokenAuthority, codes: OneTimeCodes) -> None:
        self._tokens = tokens
        self._codes = codes

    async def open(self, code: str, name: str = "player") -> SessionTokens:
        """Return the first tokens of a session; the code is spent.

        Raises:
            UnauthenticatedError: the code does not hold.
        """
        scopes = self._codes.redeem(code)
        secret = secrets.token_urlsafe(32)
        grant = await self._tokens.grants.add(
            grant_id=secrets.token_hex(8),
            kind="session",
            name=name,
            scopes=scopes,
            ttl_s=REFRESH_TTL_S,
            secret=_hash(secret),
        )
        return self._pair(grant, secret)

    async def refresh(self, refresh: str) -> SessionTokens:
        """Return the next tokens; the one shown is spent. Showing a spent one ends the session.

        Raises:
            UnauthenticatedError: unknown, expired or spent.
        """
        grant_id, _, secret = refresh.partition(".")
        grant = self._tokens.grants.by_id(grant_id)
        shown = _hash(secret)
        if grant is not None and not grant.is_script:
            if hmac.compare_digest(grant.refresh_hash, shown):
                fresh = secrets.token_urlsafe(32)
                await self._tokens.grants.rotate(grant, _hash(fresh), REFRESH_TTL_S)
                return self._pair(grant, fresh)
            if grant.spent_hash and hmac.compare_digest(grant.spent_hash, shown):
                # Two parties hold this session: which is the owner cannot be told, so it ends.
                await self._tokens.grants.remove(grant.id)
        raise UnauthenticatedError(f"this session is over: {_NEW_LINK}", is_guess=True)

    def _pair(self, grant: Grant, secret: str) -> SessionTokens:
        scopes = grant.scope_set()
        access = self._tokens.issue(grant.subject, scopes)
        return SessionTokens(access, ACCESS_TTL_S, f"{grant.id}.{secret}", scopes)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
