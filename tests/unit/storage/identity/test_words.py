"""Recovery words are checked with messages that help and that tell nothing to a log."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mnemonic import Mnemonic

from marina.secret import Secret
from storage.identity.errors import WordsError
from storage.identity.words import (
    generate_words,
    parse_words,
    words_entropy,
    words_of_entropy,
    words_seed,
)

ZERO_WORDS = " ".join(["abandon"] * 23 + ["art"])


def test_new_words_are_24_valid_and_never_the_same():
    first, second = generate_words(), generate_words()
    assert first != second
    assert len(first.reveal().split()) == 24
    assert parse_words(first.reveal()) == first


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_entropy_and_words_stand_for_each_other(entropy):
    words = words_of_entropy(Secret(entropy))
    assert words_entropy(words).reveal() == entropy
    assert parse_words(words.reveal()) == words
    assert Mnemonic("english").check(words.reveal())


def test_case_white_space_numbers_and_four_letters_do_not_matter():
    numbered = "\n".join(f"{n}. ABAN" for n in range(1, 24)) + "\n 24)  Art "
    assert parse_words(numbered).reveal() == ZERO_WORDS


def test_the_standard_seed_is_found():
    seed = words_seed(Secret("abandon " * 11 + "about")).reveal()
    assert seed.hex().startswith("5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "these are 0"),
        ("abandon " * 11 + "about", "these are 12"),
        (ZERO_WORDS + " art", "these are 25"),
        (ZERO_WORDS.replace("art", "tulipomania"), "word 24"),
        ("zzzz " + ZERO_WORDS[8:].replace("art", "qqqq"), "word 1, 24"),
        ("abandon " * 24, "checksum"),
        ("x" * 5000, "too long"),
    ],
)
def test_wrong_words_are_named_by_place_and_never_repeated(text, message):
    with pytest.raises(WordsError, match=message) as failure:
        parse_words(text)
    assert "tulipomania" not in str(failure.value)
    assert "zzzz" not in str(failure.value)


def test_two_words_that_changed_places_are_noticed():
    words = generate_words().reveal().split()
    swapped_and_noticed = 0
    for place in range(23):
        other = [*words]
        other[place], other[place + 1] = other[place + 1], other[place]
        if other == words:
            continue
        try:
            parse_words(" ".join(other))
        except WordsError:
            swapped_and_noticed += 1
    assert swapped_and_noticed >= 20
