"""Folding and what may be printed."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.library.text import WORD_CHARS_MAX, compounds_of, fold, one_line, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Björk", ["bjork"]),
        ("BJO\u0308RK", ["bjork"]),
        ("ＡＢＣ ﬁre", ["abc", "fire"]),
        ("Đorđe Łódź Ærø", ["dorde", "lodz", "aero"]),
        ("Straße", ["strasse"]),
        ("İlhan İrem", ["ilhan", "irem"]),
        ("Don’t O'Brien", ["dont", "obrien"]),
        ("AC/DC", ["ac", "dc"]),
        ("!!!", ["!!!"]),
        ("a - b", ["a", "b"]),
        ("風をあ", ["風", "を", "あ"]),
        ("소녀시대", ["소녀시대"]),
        ("Ελλάδα", ["ελλαδα"]),
        ("snake_case", ["snake", "case"]),
        ("", []),
        ("𝜜lpha 𝐁old ﬃ", ["αlpha", "bold", "ffi"]),
        ("x" * 100, ["x" * WORD_CHARS_MAX]),
    ],
)
def test_words_are_folded(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_chunks_with_inner_signs_are_one_word_too() -> None:
    assert compounds_of("AC/DC M.I.A. plain don't") == ["acdc", "mia"]


def test_every_character_folds_to_itself_the_second_time() -> None:
    for char in map(chr, range(sys.maxunicode + 1)):
        words = words_of(char)
        assert words_of(" ".join(words)) == [word for word in words if words_of(word)], repr(char)


@given(st.text(max_size=40))
def test_folding_twice_changes_no_word(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == [word for word in words if words_of(word)]
    assert all(word == word.strip() and word for word in words)
    assert fold(text).isascii() or not text.isascii()


@given(st.text(max_size=400), st.integers(1, 64))
def test_a_line_is_bounded_and_printable(text: str, max_bytes: int) -> None:
    line = one_line(text, max_bytes)
    assert len(line.encode()) <= max_bytes
    assert line == " ".join(line.split(" ")).strip()
    assert all(char.isprintable() or char in "\u200c\u200d" or ord(char) > 0x7F for char in line)
    assert one_line(line, max_bytes) == line


def test_terminal_sequences_and_overrides_lose_their_power() -> None:
    assert one_line("\x1b]0;owned\x07 red\u202egnp.exe\nline", 100) == "]0;owned red gnp.exe line"
    assert one_line("\ud800 lone", 100) == "lone"
    assert one_line("é" * 10, 5) == "éé"
