"""Text that strangers wrote, made safe to show: descriptions, reasons, names.

A description is data of whoever paid for the transaction. It must not move the cursor, hide or reorder
what stands beside it, or fill the screen.
"""

from __future__ import annotations

import unicodedata

DESCRIPTION_CHARS_MAX = 20_000
REASON_CHARS_MAX = 2_000
LINE_CHARS_MAX = 200
_CUT = " … (cut)"
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (bidi overrides, zero width, tags), surrogate, private, unassigned, separators."""
_JOINERS = frozenset("\u200c\u200d")
"""Persian, the Indic scripts and emoji are not written without them, and they reorder nothing."""
_COMBINING_MAX = 4
"""Marks stacked on one letter; more is not writing but paint over other lines."""


def clean_text(text: str, *, chars_max: int = DESCRIPTION_CHARS_MAX) -> str:
    """Return text with its line breaks and without anything invisible; longer text is cut, and says so."""
    lines = text[: chars_max + 1].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cleaned = "\n".join(_visible(line) for line in lines).strip()
    if len(text) > chars_max:
        return (cleaned[:chars_max] + _CUT).strip()
    return cleaned


def clean_line(text: str, *, chars_max: int = LINE_CHARS_MAX) -> str:
    """Return text as one line: every break and run of blanks is one blank."""
    return " ".join(clean_text(text, chars_max=chars_max).split())


def is_clean(text: str) -> bool:
    """Return whether nothing would be taken out of the text."""
    return clean_text(text, chars_max=len(text)) == text.strip()


def text_of(data: bytes) -> str:
    """Return bytes that should be UTF-8 as text; bad ones show as U+FFFD."""
    return data.decode("utf-8", "replace")


def _visible(line: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in line:
        category = unicodedata.category(char)
        if char == "\t":
            kept.append(" ")
        elif category in {"Mn", "Me"}:
            marks += 1
            if marks <= _COMBINING_MAX:
                kept.append(char)
        elif category not in _HIDDEN or char in _JOINERS:
            marks = 0
            kept.append(char)
    return "".join(kept)
