r"""The query language: beets-like words, phrases and ``field:value``, parsed and printed, nothing else.

::

    query  = group (" , " group)*            a comma between spaces means "or"
    group  = term (" " term)*                every term has to fit
    term   = ["-"] (value | field ":" value)
    value  = word | '"' any text '"'         \" and \\ inside quotes

Text fields: artist album title genre tag licence codec; a trailing ``*`` fits any ending.
Ranges: ``year:2019``, ``year:2019..2024``, ``year:2019..``, ``length:3:00..5:00``, ``length:180``.
Flags: ``mine: local: licensed:`` with true or false. ``parse(format_query(q)) == q`` for every query.
Source: design, features §3.0; beets' query syntax.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from marina.errors import UsageError

QUERY_CHARS_MAX = 1000
TERMS_MAX = 32
YEAR_MAX = 9999
LENGTH_S_MAX = 359_999
TEXT_FIELDS = ("artist", "album", "title", "genre", "tag", "licence", "codec")
RANGE_FIELDS = ("year", "length")
FLAG_FIELDS = ("mine", "local", "licensed")
FIELDS = TEXT_FIELDS + RANGE_FIELDS + FLAG_FIELDS
_ALIASES = {"license": "licence", "genres": "genre", "tags": "tag"}
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_FIELD_HEAD = re.compile(r"([A-Za-z_]+):")
_CLOCK = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,6})")


class QueryError(UsageError):
    """The query cannot be read.

    Attributes:
        position: index of the first character that does not fit, from 0.
    """

    code = "query"

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1} of the query)")
        self.position = position


@dataclass(frozen=True, slots=True)
class Text:
    """Words to look for.

    Attributes:
        text: as typed, without quotes; never empty.
        field: one of TEXT_FIELDS, or empty for title, artist, album and tags together.
        is_phrase: its words have to stand together, spelt as typed.
        is_prefix: the last word may go on.
    """

    text: str
    field: str = ""
    is_phrase: bool = False
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A range of years, or of whole seconds for ``length``; both ends included, None is open."""

    field: str
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Flag:
    """A yes-or-no property."""

    field: str
    value: bool


Item: TypeAlias = "Text | Span | Flag"


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; ``is_negated`` keeps what does not fit it."""

    item: Item
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What to find: any group, all of whose terms fit. No group at all fits everything."""

    groups: tuple[tuple[Term, ...], ...] = ()


def parse(text: str) -> Query:
    """Return the query that a person typed.

    Raises:
        QueryError: too long, a control character, an open quote, an unknown field or a bad value.
    """
    if len(text) > QUERY_CHARS_MAX:
        raise QueryError(
            f"a query has at most {QUERY_CHARS_MAX} characters, this one has {len(text)}", QUERY_CHARS_MAX
        )
    for position, char in enumerate(text):
        if not char.isspace() and unicodedata.category(char) in {"Cc", "Cs"}:
            raise QueryError("the query holds a control character; remove it", position)
    return _Parser(text).parse()


def format_query(query: Query) -> str:
    """Return the shortest plain spelling of a query; ``parse`` gives the same query back."""
    return " , ".join(" ".join(_format_term(term) for term in group) for group in query.groups)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def parse(self) -> Query:
        groups: list[tuple[Term, ...]] = []
        group: list[Term] = []
        comma_at = -1
        while self._skip_spaces():
            if self._is_lone(","):
                comma_at = self._at
                if not group:
                    raise QueryError("there is nothing before this comma; put words on both sides", comma_at)
                groups.append(tuple(group))
                group = []
                self._at += 1
            elif self._is_lone("-"):
                self._at += 1  # "Artist - Title" as people paste it
            else:
                group.append(self._term())
        if group:
            groups.append(tuple(group))
        elif comma_at >= 0:
            raise QueryError("there is nothing behind this comma; put words on both sides", comma_at)
        return Query(tuple(groups))

    def _term(self) -> Term:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise QueryError(f"a query has at most {TERMS_MAX} words and conditions", self._at)
        is_negated = self._text[self._at] == "-"
        if is_negated:
            self._at += 1
        head = _FIELD_HEAD.match(self._text, self._at)
        if head is None or self._ends_at(head.end(), head.group(1)):
            return Term(self._words(""), is_negated)
        field = head.group(1).lower()
        field = _ALIASES.get(field, field)
        if field not in FIELDS:
            raise QueryError(
                f"there is no field {head.group(1)[:40]!r}: use {', '.join(FIELDS)}, or quote the words",
                self._at,
            )
        self._at = head.end()
        if field in TEXT_FIELDS:
            return Term(self._words(field), is_negated)
        start = self._at
        value, _ = self._value()
        read = _read_flag if field in FLAG_FIELDS else _read_span
        return Term(read(field, value, start), is_negated)

    def _ends_at(self, end: int, name: str) -> bool:
        """Return whether a colon ends the word, as in ``Tidal: Live``; not so for a known field."""
        lower = name.lower()
        return _ALIASES.get(lower, lower) not in FIELDS and (
            end >= len(self._text) or self._text[end].isspace()
        )

    def _words(self, field: str) -> Text:
        start = self._at
        value, is_quoted = self._value()
        is_prefix = not is_quoted and len(value) > 1 and value.endswith("*")
        if is_prefix:
            value = value[:-1]
        if not value.strip():
            what = f"{field}: has no value" if field else "there is nothing between the quotes"
            raise QueryError(f"{what}; type what to look for", start)
        return Text(value, field, is_phrase=is_quoted, is_prefix=is_prefix)

    def _value(self) -> tuple[str, bool]:
        """Return (the value without quotes, whether it was quoted) and move behind it."""
        if self._at < len(self._text) and self._text[self._at] == '"':
            return self._quoted(), True
        start = self._at
        while self._at < len(self._text) and not self._text[self._at].isspace():
            self._at += 1
        return self._text[start : self._at], False

    def _quoted(self) -> str:
        start = self._at
        self._at += 1
        chars: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == '"':
                if self._at < len(self._text) and not self._text[self._at].isspace():
                    raise QueryError("put a space behind the closing quote", self._at)
                return "".join(chars)
            if char == "\\" and self._text[self._at : self._at + 1] in {'"', "\\"}:
                char = self._text[self._at]
                self._at += 1
            chars.append(char)
        raise QueryError("this quote is never closed", start)

    def _skip_spaces(self) -> bool:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at < len(self._text)

    def _is_lone(self, char: str) -> bool:
        behind = self._text[self._at + 1 : self._at + 2]
        return self._text[self._at] == char and (not behind or behind.isspace())


def _read_flag(field: str, value: str, position: int) -> Flag:
    lower = value.lower()
    if lower in _TRUE or lower in _FALSE:
        return Flag(field, lower in _TRUE)
    raise QueryError(f"{field}: is true or false, not {value[:40]!r}", position)


def _read_span(field: str, value: str, position: int) -> Span:
    read, example = (_read_year, "2019..2024") if field == "year" else (_read_seconds, "3:00..5:00")
    low_text, dots, high_text = value.partition("..")
    if dots:
        low = _read_end(read, low_text)
        high = _read_end(read, high_text)
        is_valid = (low is not None or not low_text) and (high is not None or not high_text)
    else:
        low = high = _read_end(read, value)
        is_valid = low is not None
    if not is_valid or (low is None and high is None):
        raise QueryError(f"{value[:40]!r} is no range for {field}: write it like {field}:{example}", position)
    if low is not None and high is not None and low > high:
        raise QueryError(f"{field}: the range {value[:40]} ends before it starts", position)
    return Span(field, low, high)


def _read_end(read: Callable[[str], int | None], text: str) -> int | None:
    return read(text) if text.isascii() else None


def _read_year(text: str) -> int | None:
    return int(text) if text.isdigit() and len(text) <= 4 else None


def _read_seconds(text: str) -> int | None:
    """Return the seconds of ``180``, ``3:00`` or ``1:02:03``."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if (match.group(2) and seconds > 59) or (match.group(1) and minutes > 59):
        return None
    total_s = hours * 3600 + minutes * 60 + seconds
    return total_s if total_s <= LENGTH_S_MAX else None


def _format_term(term: Term) -> str:
    sign = "-" if term.is_negated else ""
    item = term.item
    if isinstance(item, Flag):
        return f"{sign}{item.field}:{'true' if item.value else 'false'}"
    if isinstance(item, Span):
        return f"{sign}{item.field}:{_format_span(item)}"
    head = f"{item.field}:" if item.field else ""
    if item.is_phrase:
        escaped = item.text.replace("\\", "\\\\").replace('"', '\\"')
        return f'{sign}{head}"{escaped}"'
    return f"{sign}{head}{item.text}{'*' if item.is_prefix else ''}"


def _format_span(span: Span) -> str:
    show = str if span.field == "year" else _format_seconds
    if span.low == span.high and span.low is not None:
        return show(span.low)
    low = "" if span.low is None else show(span.low)
    high = "" if span.high is None else show(span.high)
    return f"{low}..{high}"


def _format_seconds(total_s: int) -> str:
    return f"{total_s // 60}:{total_s % 60:02d}"
