"""Hostile text in tags: never a path, a control character or a surprise (T24)."""

from __future__ import annotations

import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.audio.errors import NotAudioError
from storage.audio.naming import NAME_BYTES_MAX, export_name
from storage.audio.records import RawTags
from storage.audio.sniff import CONTAINERS, sniff
from storage.audio.tags import TEXT_BYTES_MAX, sanitise, tags_from_raw

_CLIMBS = [
    "..",
    "../",
    "..\\",
    "....//",
    "..;/",
    "%2e%2e%2f",
    "..%c0%af",
    "．．／",
    "‥/",
    "../\u200b",
    "\u202e/..",
    "/",
    "//",
    "\\\\host\\",
    "C:\\",
    "file:///",
    "~",
    "~root/",
    "./",
    ".\x00/",
]
_TARGETS = [
    "etc/passwd",
    "outside",
    "outside\x00.flac",
    ".ssh/authorized_keys",
    "con",
    "NUL.txt",
    "aux.",
    "a" * 300,
    "é" * 200,
    "<svg onload=alert(1)>",
    "$(id)",
    "`id`",
    "-rf",
    "\x1b]0;owned\x07",
    "\u202egnp.exe",
    "",
    " ",
    "...",
    "🎵/🎵",
    "A\u030a/../..",
    "%00",
    "a:b",
    "a|b?c*",
    "\ud800",
    "x\n../y",
]
CORPUS = [climb * times + target for climb, target, times in product(_CLIMBS, _TARGETS, (1, 6))]
any_text = st.text(st.characters(), max_size=400) | st.sampled_from(CORPUS)


def test_no_name_of_the_corpus_writes_outside_its_folder(tmp_path):
    inside = tmp_path / "a" / "b" / "music"
    inside.mkdir(parents=True)
    assert len(CORPUS) >= 500
    for text in CORPUS:
        place = inside / export_name(text, suffix=".flac")
        place.write_bytes(b"x")
        assert place.parent.resolve() == place.resolve().parent == inside.resolve()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in written} == {inside}
    assert all(path.name.endswith(".flac") for path in written)


@given(any_text, st.sampled_from(["", ".flac", ".opus"]))
def test_an_export_name_is_one_plain_component(text, suffix):
    name = export_name(text, suffix=suffix)
    assert 0 < len(name.encode()) <= NAME_BYTES_MAX
    assert name.endswith(suffix)
    assert not set(name) & set('/\\:*?"<>|~$`%;\x00')
    assert name[0] not in ". "
    assert name[-1] not in ". "
    assert name.partition(".")[0].strip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert not any(unicodedata.category(char)[0] == "C" for char in name)


@pytest.mark.parametrize("suffix", ["flac", "./x", ".a/b", "..", ".", ".verylongsuffix", ".é"])
def test_a_suffix_must_be_a_plain_extension(suffix):
    with pytest.raises(ValueError, match="not a file extension"):
        export_name("song", suffix=suffix)


@given(any_text, st.integers(4, 200))
def test_sanitised_text_is_bounded_printable_normal_and_stable(text, max_bytes):
    clean = sanitise(text, max_bytes)
    assert len(clean.encode()) <= max_bytes
    assert sanitise(clean, max_bytes) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp", "Cn") for char in clean)
    assert not any(0x202A <= ord(char) <= 0x202E or 0x2066 <= ord(char) <= 0x2069 for char in clean)


names = st.sampled_from(["title", "artist", "genre", "isrc", "mbid", "year", "track_no", "lyrics"]) | st.text(
    st.characters(), min_size=1, max_size=8
)
fields = st.lists(st.tuples(names, any_text, st.integers(0, 2**32 - 1)), max_size=40)


@given(fields)
def test_whatever_a_decoder_sends_becomes_clean_tags(sent):
    tags = tags_from_raw(RawTags(tuple(sent)))
    texts = [tags.title, tags.artist, tags.isrc, tags.mbid, *tags.genres, *tags.warnings]
    assert all(sanitise(text, TEXT_BYTES_MAX) == text for text in texts)
    assert 0 <= tags.track_no <= 9999
    assert 0 <= tags.year <= 9999
    assert len(tags.genres) <= 16


_MAGICS = [
    b"",
    b"ID3\x04\x00\x00\x00\x00\x00\x05",
    b"OggS",
    b"fLaC",
    b"\xff\xfb\x90\x00",
    b"RIFF\0\0\0\0WAVE",
    b"\0\0\0\x1cftyp",
]
heads = st.tuples(st.sampled_from(_MAGICS), st.binary(max_size=300)).map(b"".join)


@given(heads, st.binary(max_size=200) | st.none())
def test_any_first_bytes_give_a_container_or_a_reason(head, after_id3):
    try:
        assert sniff(head, after_id3=after_id3) in CONTAINERS
        return
    except NotAudioError as err:
        sentence = str(err)
    assert sentence.startswith("The file ")
    assert sentence.isprintable()
