"""How tracks become index documents and queries become index queries; imports tantivy, so import late.

Text is folded here (storage/library/text.py) and indexed by words. Each word of a query has to be in
the title, artist, album, genres or tags, in title and artist also with one wrong letter; the best
place counts: title 4, artist 3, album 2, genre and tag 1, a wrong letter 0.3 of that. What fits
nothing is looked for again, more loosely. Measured alternatives: docs/search.md.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from tantivy import Document, FieldType, Occur, SchemaBuilder
from tantivy import Query as IndexQuery

from marina.errors import UsageError
from storage.library.models import TrackEntry
from storage.library.query import Flag, Query, Span, Term, Text
from storage.library.text import compounds_of, is_symbols, words_of

FORMAT = 1
"""Raised with every change of fields or folding; an index of another format is built anew."""
EXACT_WEIGHTS = (("title", 4.0), ("artist", 3.0), ("album", 2.0), ("genre", 1.0), ("tag", 1.0))
TYPO_WEIGHTS = (("title", 1.2), ("artist", 0.9))
"""A field here costs a walk over its dictionary for each word and segment; hence two at first."""
LOOSE_WEIGHTS = (*TYPO_WEIGHTS, ("rest", 0.3))
SPLIT_WEIGHT = 1.2
PREFIX_WEIGHTS = (("title", 1.2), ("artist", 0.9), ("rest", 0.3))
TYPO_FACTOR = 0.3
TIE_BREAKER = 0.1
LOCAL_BONUS = 0.5
ONE_TYPO_CHARS = 3
"""Shortest word that may have a wrong letter: ``wih`` is what is left of ``with``."""
TWO_TYPOS_CHARS = 5
SPLIT_CHARS_MIN = 3
_LABEL_FIELDS = frozenset({"genre", "tag", "licence", "codec"})
_PHRASE_FIELDS = ("title", "artist", "album", "genre", "tag", "licence", "codec")
_FLAGS = ("mine", "local", "licensed")


def build_schema() -> Any:
    """Return the index's fields; positions are kept for phrases."""
    builder = SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    for name in _PHRASE_FIELDS:
        builder.add_text_field(name, tokenizer_name="whitespace")
    builder.add_text_field("rest", tokenizer_name="whitespace", index_option="freq")
    for name in _FLAGS:
        builder.add_boolean_field(name, indexed=True)
    builder.add_integer_field("year", indexed=True, fast=True)
    builder.add_integer_field("length_ms", indexed=True, fast=True)
    builder.add_integer_field("added_s", fast=True)
    return builder.build()


def index_id(track_id: bytes) -> str:
    """Return a track id as the index keeps it; tantivy deletes by text only."""
    return base64.urlsafe_b64encode(track_id).decode()


def track_id_of(indexed: str) -> bytes:
    """Return the track id of its form in the index."""
    return base64.urlsafe_b64decode(indexed)


def document_of(entry: TrackEntry) -> Any:
    """Return the document of a track."""
    artists = dict.fromkeys((entry.artist, entry.album_artist))
    labels = (*entry.genres, *entry.tags)
    return Document(
        id=index_id(entry.track_id),
        title=_folded(entry.title),
        artist=[_folded(each) for each in artists],
        album=_folded(entry.album),
        genre=[_folded(each) for each in entry.genres],
        tag=[_folded(each) for each in entry.tags],
        rest=[_folded(each) for each in (entry.album, *labels)],
        licence=_folded(entry.licence),
        codec=_folded(entry.codec),
        mine=entry.is_mine,
        local=entry.is_local,
        licensed=entry.is_licensed,
        year=entry.year,
        length_ms=entry.duration_ms,
        # The index's integers are signed.
        added_s=min(entry.added_s, 2**62),
    )


def _folded(text: str) -> str:
    return " ".join([*words_of(text), *compounds_of(text)])


class QueryCompiler:
    """Turns queries into index queries.

    Args:
        schema: the index's fields.
        is_loose: for a query that fits nothing: two wrong letters in longer words, wrong letters in
            album, genre and tag too, words that were written together, and one word of three or more
            may be missing.
    """

    def __init__(self, schema: Any, *, is_loose: bool) -> None:
        self._schema = schema
        self._is_loose = is_loose

    def compile(self, query: Query) -> tuple[Any, bool]:
        """Return (the index query, whether it looks for words, so that a ranking makes sense).

        Raises:
            UsageError: a condition has neither letters nor digits to look for.
        """
        groups: list[Any] = []
        has_words = False
        for number, group in enumerate(query.groups, 1):
            compiled, looks_for_words = self._group(group, is_last=number == len(query.groups))
            groups.append(compiled)
            has_words = has_words or looks_for_words
        if not groups:
            return IndexQuery.all_query(), False
        return _any_of(groups), has_words

    def _group(self, group: Sequence[Term], *, is_last: bool) -> tuple[Any, bool]:
        parts: list[tuple[Any, Any]] = []
        wanted: list[Any] = []
        symbols: list[Any] = []
        for number, term in enumerate(group, 1):
            item = term.item
            if term.is_negated:
                negative = self._negative(item)
                if negative is not None:
                    parts.append((Occur.MustNot, negative))
            elif isinstance(item, Text) and not item.field:
                may_go_on = item.is_prefix or (is_last and number == len(group) and not item.is_phrase)
                words = words_of(item.text)
                if words:
                    target = symbols if all(is_symbols(word) for word in words) else wanted
                    target.append(self._anywhere(item, words, may_go_on=may_go_on))
            elif isinstance(item, Text) and item.field not in _LABEL_FIELDS:
                parts.append((Occur.Must, self._in_field(item)))
            else:
                parts.append((Occur.Must, IndexQuery.const_score_query(self._filter(item), 0.0)))
        if not wanted:
            wanted, symbols = symbols, []
        if not wanted and not parts:
            raise UsageError("the query has neither letters nor digits: type a word to look for")
        looks_for_words = bool(wanted) or any(
            isinstance(term.item, Text) and term.item.field not in _LABEL_FIELDS and not term.is_negated
            for term in group
        )
        parts += [(Occur.Should, each) for each in symbols]
        parts += self._required(wanted)
        if all(occur == Occur.MustNot for occur, _ in parts):
            parts.append((Occur.Must, IndexQuery.all_query()))
        if looks_for_words:
            local = IndexQuery.const_score_query(self._term("local", True), LOCAL_BONUS)
            parts.append((Occur.Should, local))
        return IndexQuery.boolean_query(parts), looks_for_words

    def _required(self, wanted: list[Any]) -> list[tuple[Any, Any]]:
        """Return the words that have to be there; of three or more, a loose query lets one be missing."""
        if self._is_loose and len(wanted) >= 3:
            most = [(Occur.Should, each) for each in wanted]
            return [(Occur.Must, IndexQuery.boolean_query(most, len(wanted) - 1))]
        return [(Occur.Must, each) for each in wanted]

    def _anywhere(self, item: Text, words: list[str], *, may_go_on: bool) -> Any:
        """Return a query for words without a field."""
        if item.is_phrase:
            return _best_of([_boosted(self._phrase(field, words), weight) for field, weight in EXACT_WEIGHTS])
        last = len(words) - 1
        apart = _all_of(
            [self._word(word, may_go_on=may_go_on and at == last) for at, word in enumerate(words)]
        )
        joined = [self._word(word, may_go_on=may_go_on) for word in compounds_of(item.text)]
        return _best_of([apart, *joined])

    def _word(self, word: str, *, may_go_on: bool) -> Any:
        choices = [_boosted(self._term(field, word), weight) for field, weight in EXACT_WEIGHTS]
        if may_go_on:
            choices += [_boosted(self._prefix(field, word), weight) for field, weight in PREFIX_WEIGHTS]
        if len(word) >= ONE_TYPO_CHARS and not is_symbols(word):
            weights = LOOSE_WEIGHTS if self._is_loose else TYPO_WEIGHTS
            choices += [_boosted(self._similar(field, word), weight) for field, weight in weights]
        if self._is_loose:
            choices += [_boosted(each, SPLIT_WEIGHT) for each in self._split(word)]
        return _best_of(choices)

    def _in_field(self, item: Text) -> Any:
        words = self._words_of(item)
        if item.is_phrase:
            return self._phrase(item.field, words)
        last = len(words) - 1
        parts = []
        for at, word in enumerate(words):
            choices = [self._term(item.field, word)]
            if item.is_prefix and at == last:
                choices.append(_boosted(self._prefix(item.field, word), TYPO_FACTOR))
            if len(word) >= ONE_TYPO_CHARS and not is_symbols(word):
                choices.append(_boosted(self._similar(item.field, word), TYPO_FACTOR))
            parts.append(_best_of(choices))
        joined = [self._term(item.field, word) for word in compounds_of(item.text)]
        return _best_of([_all_of(parts), *joined])

    def _similar(self, field: str, word: str) -> Any:
        """Return a query for words that differ by a letter, or by two."""
        distance = 2 if self._is_loose and len(word) >= TWO_TYPOS_CHARS else 1
        return IndexQuery.fuzzy_term_query(self._schema, field, word, distance, True, False)

    def _prefix(self, field: str, word: str) -> Any:
        """Return a query for words that start with this one."""
        return IndexQuery.fuzzy_term_query(self._schema, field, word, 0, True, True)

    def _split(self, word: str) -> list[Any]:
        """Return queries for the word as two words: ``nightdrive`` for ``night drive``."""
        cuts = range(SPLIT_CHARS_MIN, len(word) - SPLIT_CHARS_MIN + 1)
        return [self._phrase("title", [word[:cut], word[cut:]]) for cut in cuts]

    def _negative(self, item: Text | Span | Flag) -> Any | None:
        """Return what must not fit: exactly what was typed, nothing similar."""
        if isinstance(item, Text) and not item.field:
            words = words_of(item.text)
            if not words:
                return None
            fields = [field for field, _ in EXACT_WEIGHTS]
            return _any_of([self._phrase(field, words, may_go_on=item.is_prefix) for field in fields])
        return self._filter(item)

    def _filter(self, item: Text | Span | Flag) -> Any:
        if isinstance(item, Flag):
            return self._term(item.field, item.value)
        if isinstance(item, Span):
            return self._span(item)
        return self._phrase(item.field, self._words_of(item), may_go_on=item.is_prefix)

    def _span(self, item: Span) -> Any:
        low, high = item.low, item.high
        field = item.field
        if field == "length":
            field = "length_ms"
            low = None if low is None else low * 1000
            high = None if high is None else high * 1000 + 999
        elif low is None:
            low = 1  # an unknown year is kept as 0
        return IndexQuery.range_query(self._schema, field, FieldType.Integer, low, high)

    def _phrase(self, field: str, words: list[str], *, may_go_on: bool = False) -> Any:
        if len(words) == 1:
            if may_go_on:
                return self._prefix(field, words[0])
            return self._term(field, words[0])
        if may_go_on:
            return IndexQuery.phrase_prefix_query(self._schema, field, list(words))
        return IndexQuery.phrase_query(self._schema, field, list(words))

    def _term(self, field: str, value: str | bool) -> Any:
        return IndexQuery.term_query(self._schema, field, value)

    def _words_of(self, item: Text) -> list[str]:
        words = words_of(item.text)
        if not words:
            raise UsageError(f"{item.field}:{item.text[:40]} has neither letters nor digits to look for")
        return words


def _boosted(query: Any, weight: float) -> Any:
    return IndexQuery.boost_query(query, weight)


def _best_of(queries: list[Any]) -> Any:
    return queries[0] if len(queries) == 1 else IndexQuery.disjunction_max_query(queries, TIE_BREAKER)


def _all_of(queries: list[Any]) -> Any:
    return queries[0] if len(queries) == 1 else IndexQuery.boolean_query([(Occur.Must, q) for q in queries])


def _any_of(queries: list[Any]) -> Any:
    return queries[0] if len(queries) == 1 else IndexQuery.boolean_query([(Occur.Should, q) for q in queries])
