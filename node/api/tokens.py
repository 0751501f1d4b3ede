"""Issues and checks access tokens. One node issues, the same node checks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from marina.clock import Clock
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.secret import Secret
from node.api.errors import UnauthenticatedError
from node.api.grants import Grant, Grants, Revocations
from node.api.jwt import KEY_BYTES, Claims, read_claims, sign_claims
from node.api.scopes import Scope, parse_scopes, scope_text
from storage.kv import KeyValueStore

ACCESS_TTL_S = 15 * 60
"""Longest life of a token that no grant backs (design, security §4 rule 6)."""
SCRIPT_TTL_MAX_S = 366 * 86_400
CLI_SUBJECT = "cli"
_CLOCK_SKEW_S = 60
_AGAIN = "run the command again, or open a new link with 'marina up'"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A checked token.

    Attributes:
        subject: ``cli``, ``session:<id>`` or ``script:<id>``.
        token_id: the token's own id.
        scopes: what it may do.
        expires_s: Unix seconds.
    """

    subject: str
    token_id: str
    scopes: frozenset[Scope]
    expires_s: int


class TokenAuthority:
    """Issues, checks and revokes access tokens. Call ``load`` before anything else."""

    def __init__(self, *, key: Secret[bytes], node_id: str, store: KeyValueStore, clock: Clock) -> None:
        """Take the collaborators.

        Args:
            key: 32 random bytes from the vault.
            node_id: peer id of this node; a token of another node never fits.
            store: where grants and revocations are kept.
            clock: wall time of issue and expiry.
        """
        if len(key.reveal()) != KEY_BYTES:
            raise ValueError(f"the token key has {KEY_BYTES} bytes")
        self._key = key
        self._issuer = f"marina:{node_id}"
        self._audience = f"marina-api:{node_id}"
        self._clock = clock
        self.grants = Grants(store=store, clock=clock)
        self._revocations = Revocations(store=store, clock=clock)

    async def load(self) -> None:
        """Read grants and revocations from the database."""
        await self.grants.load()
        await self._revocations.load()

    def issue(self, subject: str, scopes: frozenset[Scope], *, ttl_s: int = ACCESS_TTL_S) -> str:
        """Return a token for a subject, valid for at most 15 minutes.

        Raises:
            ValueError: a longer life.
        """
        if not 0 < ttl_s <= ACCESS_TTL_S:
            raise ValueError(f"an access token lives at most {ACCESS_TTL_S} s")
        return self._sign(subject, secrets.token_hex(8), scopes, ttl_s)

    async def create_script_token(self, name: str, scopes: frozenset[Scope], ttl_s: int) -> tuple[str, Grant]:
        """Return a token for a program and the grant it lives by; only the grant is stored.

        Raises:
            UsageError: the life or the name is too long.
        """
        if not 0 < ttl_s <= SCRIPT_TTL_MAX_S:
            raise UsageError("a token lives between 1 second and 366 days")
        grant = await self.grants.add(
            grant_id=secrets.token_hex(8), kind="script", name=name, scopes=scopes, ttl_s=ttl_s
        )
        return self._sign(grant.subject, grant.id, scopes, ttl_s), grant

    async def revoke(self, name: str) -> None:
        """End a grant, every token of a subject, or one token by its id; holds from now on.

        Args:
            name: id of a grant, ``cli``, or a token's ``jti``.

        Raises:
            NotFoundError: the name cannot be any of them.
        """
        if await self.grants.remove(name):
            return
        if name == CLI_SUBJECT:
            await self._revocations.revoke_subject(name, ACCESS_TTL_S + _CLOCK_SKEW_S)
            return
        if len(name) != 16 or not all(c in "0123456789abcdef" for c in name):
            raise NotFoundError(f"there is no token {name[:40]!r}: see 'marina token list'")
        await self._revocations.revoke_id(name, ACCESS_TTL_S + _CLOCK_SKEW_S)

    def verify(self, token: str) -> AccessToken:
        """Return what a token allows right now.

        Raises:
            UnauthenticatedError: not ours, expired, revoked, or its session is over.
        """
        try:
            claims = read_claims(self._key, token)
            scopes = parse_scopes(claims.scope.split(" "))
        except (MalformedError, UsageError) as err:
            raise UnauthenticatedError(f"this is no token of this node: {_AGAIN}", is_guess=True) from err
        if claims.aud != self._audience or claims.iss != self._issuer:
            raise UnauthenticatedError(f"this token is for another node: {_AGAIN}", is_guess=True)
        self._check_time(claims)
        self._check_alive(claims)
        return AccessToken(claims.sub, claims.jti, scopes, claims.exp)

    def _check_time(self, claims: Claims) -> None:
        now_s = self._clock.now_s()
        if claims.exp <= now_s:
            raise UnauthenticatedError(f"the token has expired: {_AGAIN}")
        if claims.iat > now_s + _CLOCK_SKEW_S:
            raise UnauthenticatedError("the token is from the future: check this machine's clock")

    def _check_alive(self, claims: Claims) -> None:
        if self._revocations.is_revoked(jti=claims.jti, sub=claims.sub, iat=claims.iat):
            raise UnauthenticatedError(f"the token was revoked: {_AGAIN}")
        grant = self.grants.get(claims.sub)
        if grant is None and claims.sub != CLI_SUBJECT:
            raise UnauthenticatedError(f"the token was revoked or its session is over: {_AGAIN}")
        is_long = claims.exp - claims.iat > ACCESS_TTL_S
        if is_long and not (grant is not None and grant.is_script):
            raise UnauthenticatedError(f"the token lives longer than it may: {_AGAIN}")

    def _sign(self, subject: str, token_id: str, scopes: frozenset[Scope], ttl_s: int) -> str:
        now_s = self._clock.now_s()
        claims = Claims(
            self._issuer, self._audience, subject, token_id, now_s, now_s + ttl_s, scope_text(scopes)
        )
        return sign_claims(self._key, claims)
