"""What a token may do. No scope implies another; only ``wallet_sign`` signs, what was shown before."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from marina.errors import UsageError


class Scope(StrEnum):
    """Permissions of a token (design, security §4)."""

    READ_MUSIC = "read_music"
    """Search, stream, the owner's own licences, status."""
    WRITE_MUSIC = "write_music"
    """Publish, update and withdraw releases."""
    CREATE_PLAYLIST = "create_playlist"
    DELETE_PLAYLIST = "delete_playlist"
    MODERATE_CONTENT = "moderate_content"
    """Hide or refuse what others published, ban peers."""
    METRICS_READ = "metrics:read"
    """Only the counters, for a monitoring program."""
    WALLET_SIGN = "wallet_sign"
    """Say yes to transactions that were shown: signs and sends exactly these."""
    ADMIN = "admin"
    """Settings, tokens, keys, storage, stopping the node."""


PLAYER_SCOPES = frozenset({Scope.READ_MUSIC})
"""What the player page gets: it can play and look, never change."""


def parse_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of their words.

    Raises:
        UsageError: a word is no scope, or there is none.
    """
    known = {scope.value: scope for scope in Scope}
    found: set[Scope] = set()
    for word in words:
        if word not in known:
            raise UsageError(f"{word[:40]!r} is no scope: choose from {', '.join(known)}")
        found.add(known[word])
    if not found:
        raise UsageError(f"name at least one scope: {', '.join(known)}")
    return frozenset(found)


def scope_text(scopes: Iterable[Scope]) -> str:
    """Return the scopes as one sorted, space-separated text."""
    return " ".join(sorted(scope.value for scope in scopes))
