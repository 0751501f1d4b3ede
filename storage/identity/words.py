"""The 24 recovery words: BIP-39, English list, 256 bits of entropy, no BIP-39 passphrase.

Messages name the place of a wrong word, never the word: an error may end up in a log.
Source: BIP-39; the list and checksum are those of the package ``mnemonic``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mnemonic import Mnemonic

from marina.secret import Secret
from storage.identity.errors import WordsError

WORD_COUNT = 24
COUNTS = (12, 15, 18, 21, 24)
"""Numbers of words that BIP-39 knows; words of other wallets often are 12."""
ENTROPY_BYTES = 32
TEXT_CHARS_MAX = 1024


def generate_words() -> Secret[str]:
    """Return 24 new words from the system's random source, separated by single spaces."""
    return Secret(_list().generate(strength=8 * ENTROPY_BYTES))


def parse_words(text: str, *, counts: Sequence[int] = (WORD_COUNT,)) -> Secret[str]:
    """Return typed or pasted words in their one spelling.

    Case, extra white space and the numbers of a numbered list do not matter, and four letters of a
    word are enough: BIP-39 words differ in their first four.

    Args:
        text: as typed.
        counts: how many words are accepted; Marina's own are always 24.

    Raises:
        WordsError: not so many words, a word that is not in the list (its place is named), or words whose
            checksum does not fit.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise WordsError(f"this is too long for {_either(counts)} recovery words: paste only the words")
    typed = [word for word in text.lower().split() if not word.rstrip(".):").isdecimal()]
    if len(typed) not in counts:
        raise WordsError(f"{_either(counts)} recovery words are needed, these are {len(typed)}")
    words = [_list().expand_word(word) if len(word) >= 4 else word for word in typed]
    known = frozenset(_list().wordlist)
    unknown = [str(place) for place, word in enumerate(words, 1) if word not in known]
    if unknown:
        raise WordsError(
            f"not in the word list: word {', '.join(unknown)}. Check the spelling against your notes"
        )
    phrase = " ".join(words)
    if not _list().check(phrase):
        raise WordsError(
            "all words are known but their checksum does not fit: one of them is another word, "
            "or two have changed places"
        )
    return Secret(phrase)


def words_entropy(words: Secret[str]) -> Secret[bytes]:
    """Return the 32 bytes that valid words stand for."""
    return Secret(bytes(_list().to_entropy(words.reveal())))


def words_of_entropy(entropy: Secret[bytes]) -> Secret[str]:
    """Return the words of 32 bytes of entropy."""
    return Secret(_list().to_mnemonic(entropy.reveal()))


def words_seed(words: Secret[str]) -> Secret[bytes]:
    """Return the 64-byte BIP-39 seed (PBKDF2-HMAC-SHA512, 2048 rounds, empty passphrase)."""
    return Secret(Mnemonic.to_seed(words.reveal()))


def _either(counts: Sequence[int]) -> str:
    *more, last = [str(each) for each in counts]
    return f"{', '.join(more)} or {last}" if more else last


@functools.cache
def _list() -> Mnemonic:
    return Mnemonic("english")
