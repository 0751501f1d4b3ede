"""A play session: the plaintext readers get, where it came from, and when the first sound was there."""

from __future__ import annotations

import itertools
import os

import pytest
import trio

from marina.errors import DamagedError, LicenceNeededError, NotFoundError
from marina.secret import Secret
from storage.content.segments import CipherRun, SegmentSealer
from streaming.quality import Quality, choose_rendition
from tests.support.listening import TRACK, Sealed, Source, Twin, fetcher_of, filled_store, whole


async def test_the_waveform_says_who_served_what():
    sealed = Sealed(os.urandom(500_000))
    blocks = await filled_store(sealed)
    del blocks._renditions[sealed.layout.root].segments[2]
    async with fetcher_of(sealed, Source(Twin("ada", sealed)), blocks=blocks).running() as fetcher:
        session = sealed.session(fetcher)
        assert await whole(session) == sealed.plain
        assert [run["peer"] for run in session.segments()] == ["local", "ada", "local"]
        edges = [(run["from"], run["to"]) for run in session.segments()]
        assert edges[0][0] == 0
        assert edges[-1][1] == 1
        assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))


async def test_the_first_sound_counts_the_preparation_and_not_the_players_idling(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    async with fetcher_of(sealed, Source(), blocks=await filled_store(sealed)).running() as fetcher:
        session = sealed.session(fetcher)
        session.begin(0.125)
        await trio.sleep(7)
        with session.reading(0):
            session.delivered(0, 10_000)
            assert session.first_sound_s is None
            await trio.sleep(0.25)
            session.delivered(10_000, 50_000)
        assert session.first_sound_s == pytest.approx(0.375)


async def test_a_session_fetches_its_beginning_before_the_player_asks():
    sealed = Sealed(os.urandom(3_000_000))
    twin = Twin("a", sealed)
    async with fetcher_of(sealed, Source(twin)).running() as fetcher:
        sealed.session(fetcher).begin(0.0)
        await trio.sleep(0.1)
        assert {0, 1, len(sealed.segments) - 1} <= set(twin.asked)


async def test_a_segment_that_was_sealed_otherwise_is_an_error_and_not_noise():
    sealed = Sealed(os.urandom(200_000))
    other = CipherRun(TRACK, 2, 0, 1, os.urandom(32))
    sealer = SegmentSealer(other, Secret(b"x" * 32), len(sealed.segments))
    async with fetcher_of(sealed, Source(Twin("a", sealed))).running() as fetcher:
        session = sealed.session(fetcher)
        sealed_otherwise = sealer.seal(1, bytes(65_520))
        await session.plaintext(1)
        session._decoded.clear()
        fetcher._keeper._recent[1] = sealed_otherwise
        with pytest.raises(DamagedError, match="segment 1"):
            await session.plaintext(1)


async def test_what_was_decoded_stays_within_its_bound():
    sealed = Sealed(os.urandom(8_000_000))
    async with fetcher_of(sealed, Source(), blocks=await filled_store(sealed)).running() as fetcher:
        session = sealed.session(fetcher)
        assert await whole(session) == sealed.plain
        assert sum(map(len, session._decoded.values())) <= 4 * 1024 * 1024


def test_quality_takes_what_there_is_and_a_preview_only_alone():
    track = Sealed(b"x" * 100).manifest()  # offers the original alone
    for quality in Quality:
        assert choose_rendition(track, quality).tier == 2


def test_a_track_without_renditions_has_nothing_to_play():
    from dataclasses import replace

    track = replace(Sealed(b"x" * 100).manifest(), renditions=())
    with pytest.raises(NotFoundError, match="'Song' has nothing to play"):
        choose_rendition(track, Quality.AUTO)


def offered(*tiers):
    from dataclasses import replace

    track = Sealed(b"x" * 100).manifest()
    (one,) = track.renditions
    rates = {0: 96_000, 1: 160_000, 2: 900_000}
    made = tuple(
        replace(one, run=replace(one.run, tier=tier), bitrate_bps=rates[tier]) for tier in sorted(tiers)
    )
    return replace(track, renditions=made)


@pytest.mark.parametrize(
    ("tiers", "quality", "local", "link_bps", "expected"),
    [
        ((0, 1, 2), "low", (), None, 1),
        ((0, 1, 2), "high", (), None, 1),
        ((0, 1, 2), "original", (), None, 2),
        ((0, 1), "original", (), None, 1),
        ((0,), "original", (), None, 0),
        ((1, 2), "auto", (), None, 1),
        ((1, 2), "auto", (), 1_900_000.0, 2),
        ((1, 2), "auto", (), 1_700_000.0, 1),
        ((1, 2), "auto", (1,), 9e9, 1),
        ((1, 2), "auto", (1, 2), None, 2),
        ((1, 2), "low", (2,), 9e9, 1),
    ],
)
def test_which_rendition_a_quality_means(tiers, quality, local, link_bps, expected):
    chosen = choose_rendition(offered(*tiers), Quality(quality), local_tiers=local, link_bps=link_bps)
    assert chosen.tier == expected


async def test_at_the_end_of_its_licence_a_session_forgets_the_key_and_what_it_opened(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    async with fetcher_of(sealed, Source(), blocks=await filled_store(sealed)).running() as fetcher:
        session = sealed.session(fetcher)
        data = await session.plaintext(0)
        assert data == sealed.plain[: len(data)]
        session.ends_s = trio.current_time() + 60  # time stands still only while no thread is waited for
        await trio.sleep(61)
        assert not session.is_licensed
        for index in (0, 1):
            with pytest.raises(LicenceNeededError, match="ended"):
                await session.plaintext(index)
        assert session._opener is None
        assert not session._decoded


def test_a_quality_leaves_out_a_closed_tier_where_another_is_open():
    track = offered(0, 1, 2)
    fast = {"link_bps": 9e9}
    assert choose_rendition(track, Quality.AUTO, **fast).tier == 2
    assert choose_rendition(track, Quality.AUTO, closed_tiers=(2,), **fast).tier == 1
    assert choose_rendition(track, Quality.ORIGINAL, closed_tiers=(2,)).tier == 2, "what was named is meant"
    assert choose_rendition(track, Quality.PREVIEW, **fast).tier == 0
