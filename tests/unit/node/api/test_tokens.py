"""Tokens, grants and the token file over a database that is opened again."""

from __future__ import annotations

import stat

import pytest
import trio

from marina.clock import ManualClock
from marina.errors import NotFoundError, UsageError
from marina.secret import Secret
from node.api.errors import UnauthenticatedError
from node.api.grants import GRANTS_MAX
from node.api.scopes import PLAYER_SCOPES, Scope, parse_scopes
from node.api.sessions import CODES_MAX, REFRESH_TTL_S, OneTimeCodes, Sessions
from node.api.token_file import TokenFile
from node.api.tokens import ACCESS_TTL_S, TokenAuthority
from storage.kv import MemoryKv

KEY = Secret(b"k" * 32)
READ = frozenset({Scope.READ_MUSIC})


class TrioClock(ManualClock):
    """Wall and monotonic time that follow trio's virtual clock."""

    def now_s(self) -> int:
        return 1_700_000_000 + int(trio.current_time())

    def monotonic_s(self) -> float:
        return trio.current_time()


async def authority(store: MemoryKv, clock: ManualClock) -> TokenAuthority:
    tokens = TokenAuthority(key=KEY, node_id="12D3KooWNode", store=store, clock=clock)
    await tokens.load()
    return tokens


async def test_a_token_carries_its_subject_and_scopes_for_fifteen_minutes():
    tokens = await authority(MemoryKv(), clock := ManualClock())
    token = tokens.verify(tokens.issue("cli", frozenset({Scope.ADMIN, Scope.READ_MUSIC})))
    assert (token.subject, token.scopes) == ("cli", {Scope.ADMIN, Scope.READ_MUSIC})
    assert token.expires_s == clock.now_s() + 900
    with pytest.raises(ValueError, match="at most 900"):
        tokens.issue("cli", READ, ttl_s=901)


async def test_a_revoked_token_stays_revoked_after_a_restart():
    store, clock = MemoryKv(), ManualClock()
    tokens = await authority(store, clock)
    text = tokens.issue("cli", READ)
    other = tokens.issue("cli", READ)
    script, grant = await tokens.create_script_token("radio", READ, 3600)
    await tokens.revoke(tokens.verify(text).token_id)
    again = await authority(store, clock)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        again.verify(text)
    assert again.verify(other).subject == "cli"
    assert again.verify(script).subject == grant.subject
    await again.revoke(grant.id)
    third = await authority(store, clock)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        third.verify(script)
    with pytest.raises(NotFoundError):
        await third.revoke("no such token")


async def test_revocations_are_forgotten_when_nothing_could_use_them():
    store, clock = MemoryKv(), ManualClock()
    tokens = await authority(store, clock)
    for _ in range(3):
        await tokens.revoke(tokens.verify(tokens.issue("cli", READ)).token_id)
    clock.advance(ACCESS_TTL_S + 61)
    await authority(store, clock)
    assert await store.scan(b"api_revoked") == []


async def test_an_expired_grant_leaves_the_database():
    store, clock = MemoryKv(), ManualClock()
    tokens = await authority(store, clock)
    await tokens.create_script_token("short", READ, 60)
    clock.advance(60)
    assert tokens.grants.live() == []
    await authority(store, clock)
    assert await store.scan(b"api_grants") == []


async def test_the_oldest_session_makes_room_and_scripts_never_do():
    tokens = await authority(MemoryKv(), clock := ManualClock())
    codes = OneTimeCodes(clock=clock)
    sessions = Sessions(tokens=tokens, codes=codes)
    first = await sessions.open(codes.issue(PLAYER_SCOPES))
    clock.advance(1)
    for i in range(GRANTS_MAX):
        await tokens.create_script_token(f"s{i}", READ, 3600)
    with pytest.raises(UnauthenticatedError):
        tokens.verify(first.access)
    with pytest.raises(UsageError, match="revoke some"):
        await tokens.create_script_token("one more", READ, 3600)


async def test_a_session_lasts_as_long_as_it_is_refreshed():
    tokens = await authority(MemoryKv(), clock := ManualClock())
    codes = OneTimeCodes(clock=clock)
    sessions = Sessions(tokens=tokens, codes=codes)
    pair = await sessions.open(codes.issue(PLAYER_SCOPES))
    for _ in range(3):
        clock.advance(REFRESH_TTL_S - 1)
        pair = await sessions.refresh(pair.refresh)
        assert tokens.verify(pair.access).scopes == PLAYER_SCOPES
    clock.advance(REFRESH_TTL_S)
    with pytest.raises(UnauthenticatedError):
        await sessions.refresh(pair.refresh)


async def test_a_wrong_refresh_token_does_not_end_the_session():
    tokens = await authority(MemoryKv(), clock := ManualClock())
    codes = OneTimeCodes(clock=clock)
    sessions = Sessions(tokens=tokens, codes=codes)
    pair = await sessions.open(codes.issue(PLAYER_SCOPES))
    grant_id = pair.refresh.partition(".")[0]
    _, grant = await tokens.create_script_token("radio", READ, 60)
    for wrong in (f"{grant_id}.wrong", f"{grant_id}.", f"{grant.id}.", "nothing", ""):
        with pytest.raises(UnauthenticatedError):
            await sessions.refresh(wrong)
    assert await sessions.refresh(pair.refresh)


async def test_neither_codes_nor_refresh_secrets_are_stored_or_shown():
    store, clock = MemoryKv(), ManualClock()
    tokens = await authority(store, clock)
    codes = OneTimeCodes(clock=clock)
    code = codes.issue(PLAYER_SCOPES)
    pair = await Sessions(tokens=tokens, codes=codes).open(code)
    secret = pair.refresh.partition(".")[2]
    rows = b"".join(value for _, value in await store.scan(b"api"))
    assert rows
    assert secret.encode() not in rows
    assert pair.access.encode() not in rows
    assert secret not in repr(pair)


async def test_of_too_many_links_the_oldest_stops_working():
    codes = OneTimeCodes(clock=ManualClock())
    issued = [codes.issue(PLAYER_SCOPES) for _ in range(CODES_MAX + 1)]
    with pytest.raises(UnauthenticatedError):
        codes.redeem(issued[0])
    assert codes.redeem(issued[1]) == PLAYER_SCOPES


def test_unknown_scopes_are_named_and_none_is_not_enough():
    with pytest.raises(UsageError, match="'everything' is no scope"):
        parse_scopes(["read_music", "everything"])
    with pytest.raises(UsageError, match="at least one"):
        parse_scopes([])


async def test_the_token_file_is_private_always_valid_and_removed_at_the_end(tmp_path, autojump_clock):
    autojump_clock.autojump_threshold = 0.03  # the file is written in a thread, in real time
    path = tmp_path / "api.token"
    tokens = await authority(MemoryKv(), TrioClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(TokenFile(path=path, tokens=tokens).run)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        seen = set()
        for _ in range(6):
            text = path.read_text().strip()
            assert tokens.verify(text).scopes == frozenset(Scope)
            seen.add(text)
            await trio.sleep(240)
        assert len(seen) > 2
        await tokens.revoke("cli")
        await trio.sleep(45)
        assert tokens.verify(path.read_text().strip()).subject == "cli"
        nursery.cancel_scope.cancel()
    assert not path.exists()
