"""Tags of strangers become short clean text, and what was changed is said."""

from __future__ import annotations

import pytest

from storage.audio.records import RawTags
from storage.audio.tags import sanitise, tags_from_raw


def raw(*fields):
    return RawTags(tuple((name, text, size or len(text.encode())) for name, text, size in fields))


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x07", "[31mred"),
        ("two\r\nlines\tand  more", "two lines and more"),
        ("nul\x00byte", "nul byte"),
        ("gnp.\u202egnos", "gnp.gnos"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("e\u0301", "\u00e9"),
        ("\u2028line\u2029", "line"),
        ("\ud800lone", "lone"),
        ("👩\u200d🎤", "👩\u200d🎤"),
        ("نمی\u200cدانم", "نمی\u200cدانم"),
        ("  ", ""),
    ],
)
def test_text_is_cleaned(dirty, clean):
    assert sanitise(dirty) == clean


def test_text_is_cut_between_characters():
    assert sanitise("é" * 1000) == "é" * 512
    assert sanitise("aé", 2) == "a"


def test_known_fields_are_read():
    tags = tags_from_raw(
        raw(
            ("title", "Ebb", 0),
            ("track_no", "3/12", 0),
            ("disc_no", "x", 0),
            ("year", "rec. 1999-05", 0),
            ("genre", "Folk", 0),
            ("genre", "Jazz", 0),
            ("genre", "Folk", 0),
            ("isrc", "us-s1z-99-00001", 0),
            ("mbid", "B10BBBFC-CF9E-42E0-BE17-E2C3E1D2600D", 0),
            ("lyrics", "la", 9000),
            ("unheard_of", "ignored", 0),
        )
    )
    assert (tags.title, tags.track_no, tags.disc_no, tags.year) == ("Ebb", 3, 0, 1999)
    assert tags.genres == ("Folk", "Jazz")
    assert tags.isrc == "USS1Z9900001"
    assert tags.mbid == "b10bbbfc-cf9e-42e0-be17-e2c3e1d2600d"
    assert tags.has_lyrics
    assert tags.warnings == ()


def test_cut_and_ignored_tags_are_warned_of():
    tags = tags_from_raw(
        raw(("title", "A" * 2048, 1_000_000), ("album", "B" * 1500, 0), ("isrc", "nonsense", 0))
    )
    assert tags.title == "A" * 1024
    assert tags.isrc == ""
    assert tags.warnings == (
        "The title has 1000000 bytes and was cut to 1024.",
        "The album was cut to 1024 bytes.",
        "The ISRC in the file is not a valid one and was ignored.",
    )


def test_impossible_numbers_are_dropped():
    tags = tags_from_raw(raw(("track_no", "99999", 0), ("disc_no", "-1", 0), ("year", "0000", 0)))
    assert (tags.track_no, tags.disc_no, tags.year) == (0, 0, 0)
