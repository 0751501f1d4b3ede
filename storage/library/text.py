"""One folding of text for the index and for what people type, so that both always agree.

Case, accents and compatibility forms do not matter: ``Björk`` = ``bjork``, ``ＡＢＣ`` = ``abc``,
``Đorđe`` = ``dorde``. Han and Kana have no spaces, so each such character is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata

WORD_CHARS_MAX = 48
"""Longer words are cut, in the index and in queries alike."""

# Letters that Unicode does not take apart, though people type them without the stroke.
_STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_APOSTROPHES = re.compile("['’‘ʼ`´＇]")
_LONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_LONE}]|[^\W_{_LONE}]+")
_HAS_WORD = re.compile(r"[^\W_]")


def fold(text: str) -> str:
    """Return the text in lower case without accents and apostrophes, spaces kept."""
    if text.isascii():
        return text.lower().replace("'", "").replace("`", "")
    # Taken apart before and after: 𝜜 is a capital only once it is Α, and ﬃ has several letters either way.
    apart = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", text))
    plain = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", apart).casefold())
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", bare).translate(_STROKES)


def words_of(text: str) -> list[str]:
    """Return the folded words of a text in order; a name of symbols only (``!!!``) is one word."""
    found: list[str] = []
    for chunk in fold(text).split():
        if _HAS_WORD.search(chunk):
            found.extend(word[:WORD_CHARS_MAX] for word in _WORD.findall(chunk))
        elif len(chunk) > 1:
            found.append(chunk[:WORD_CHARS_MAX])
    return found


def compounds_of(text: str) -> list[str]:
    """Return the chunks with inner punctuation as one word each: ``AC/DC`` gives ``acdc``."""
    found: list[str] = []
    for chunk in fold(text).split():
        parts = _WORD.findall(chunk)
        joined = "".join(parts)
        if len(parts) > 1 and joined.isascii():
            found.append(joined[:WORD_CHARS_MAX])
    return found


def is_symbols(word: str) -> bool:
    """Return whether a folded word has neither letters nor digits."""
    return _HAS_WORD.search(word) is None


def one_line(text: str, max_bytes: int) -> str:
    """Return text fit for a terminal line and a bounded field.

    Control characters, line ends and direction overrides become spaces, runs of spaces one space; the
    end is cut so that at most ``max_bytes`` of UTF-8 remain.
    """
    clean = "".join(" " if _is_unprintable(char) else char for char in text[: 2 * max_bytes])
    line = " ".join(clean.split())
    return line.encode()[:max_bytes].decode(errors="ignore").rstrip()


def _is_unprintable(char: str) -> bool:
    category = unicodedata.category(char)
    if category in {"Cc", "Cs", "Zl", "Zp"}:
        return True
    # Overrides could show a name as another; joiners (U+200C, U+200D) belong to scripts and emoji.
    return category == "Cf" and char not in {"\u200c", "\u200d"}
