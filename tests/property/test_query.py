"""The query language reads back what it prints, and answers every text with a query or a clear error."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.errors import UsageError
from storage.library.query import (
    LENGTH_S_MAX,
    QUERY_CHARS_MAX,
    TERMS_MAX,
    TEXT_FIELDS,
    Flag,
    Query,
    QueryError,
    Span,
    Term,
    Text,
    format_query,
    parse,
)

_plain = st.characters(exclude_categories=("Cc", "Cs", "Z"), exclude_characters='":,-*\\')
_words = st.text(_plain, min_size=1, max_size=12)
_quoted = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
_fields = st.sampled_from(("", *TEXT_FIELDS))
_texts = st.one_of(
    st.builds(Text, _words, _fields, is_prefix=st.booleans()),
    st.builds(Text, _quoted, _fields, is_phrase=st.just(True)),
)


def _spans(field: str, high: int) -> st.SearchStrategy[Span]:
    ends = st.one_of(st.none(), st.integers(0, high))
    return (
        st.tuples(ends, ends)
        .filter(lambda pair: pair != (None, None))
        .map(lambda pair: tuple(sorted(pair)) if None not in pair else pair)
        .map(lambda pair: Span(field, *pair))
    )


_items = st.one_of(
    _texts,
    _spans("year", 9999),
    _spans("length", LENGTH_S_MAX),
    st.builds(Flag, st.sampled_from(("mine", "local", "licensed")), st.booleans()),
)
_terms = st.builds(Term, _items, st.booleans())
_groups = st.lists(_terms, min_size=1, max_size=6).map(tuple)
_queries = st.builds(Query, st.lists(_groups, max_size=4).map(tuple))


@given(_queries)
def test_a_printed_query_reads_back_as_itself(query: Query) -> None:
    assert parse(format_query(query)) == query


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_a_clear_error(text: str) -> None:
    error: QueryError | None = None
    query = Query()
    try:
        query = parse(text)
    except QueryError as err:
        error = err
    assert parse(format_query(query)) == query
    if error is not None:
        assert isinstance(error, UsageError)
        assert 0 <= error.position <= len(text)
        assert f"at character {error.position + 1}" in str(error)


@given(st.text(st.sampled_from('ab -,:"\\*.0123:yeartglnhmi'), max_size=30))
def test_texts_of_the_languages_own_signs_read_back_too(text: str) -> None:
    try:
        query = parse(text)
    except QueryError:
        return
    assert parse(format_query(query)) == query


def _one(text: str) -> Term:
    ((term,),) = parse(text).groups
    return term


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("drive", Text("drive")),
        ('"night drive"', Text("night drive", is_phrase=True)),
        (r'"say \"hi\" \\o/"', Text('say "hi" \\o/', is_phrase=True)),
        ("artist:ada", Text("ada", "artist")),
        ("ARTIST:ada", Text("ada", "artist")),
        ('genre:"drum and bass"', Text("drum and bass", "genre", is_phrase=True)),
        ("license:cc*", Text("cc", "licence", is_prefix=True)),
        ("year:2019", Span("year", 2019, 2019)),
        ("year:2019..2024", Span("year", 2019, 2024)),
        ("year:..2024", Span("year", None, 2024)),
        ("length:3:00..5:00", Span("length", 180, 300)),
        ("length:1:02:03..", Span("length", 3723, None)),
        ("length:90", Span("length", 90, 90)),
        ("mine:true", Flag("mine", True)),
        ("licensed:no", Flag("licensed", False)),
        ("Tidal:", Text("Tidal:")),
        ("AC/DC", Text("AC/DC")),
        ("rock'n'roll", Text("rock'n'roll")),
    ],
)
def test_conditions_are_read_as_documented(text: str, item: object) -> None:
    assert _one(text) == Term(item)
    assert _one("-" + text) == Term(item, is_negated=True)


def test_a_lone_comma_means_or_and_a_lone_dash_nothing() -> None:
    query = parse("Ada Morel - Tidal , year:2019 -tag:live")
    assert [len(group) for group in query.groups] == [3, 2]
    assert query.groups[1][1] == Term(Text("live", "tag"), is_negated=True)
    assert parse("love, actually") == Query(((Term(Text("love,")), Term(Text("actually"))),))


def test_an_empty_query_fits_everything() -> None:
    assert parse("") == parse("  \t ") == Query()


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ('night "drive', 6, "never closed"),
        ('"', 0, "never closed"),
        ('""', 0, "nothing between the quotes"),
        ('"a"b', 3, "space behind"),
        ("love artst:ada", 5, "no field 'artst'"),
        ("http://example.org", 0, "no field 'http'"),
        ("artist:", 7, "has no value"),
        ('tag:""', 4, "has no value"),
        ("year:nineteen", 5, "no range for year"),
        ("year:..", 5, "no range for year"),
        ("year:2024..2019", 5, "ends before it starts"),
        ("year:20190", 5, "no range"),
        ("length:3:99", 7, "no range for length"),
        ("length:-5", 7, "no range for length"),
        ("year:٢٠١٩", 5, "no range"),
        ("mine:maybe", 5, "true or false"),
        ("a , ", 2, "nothing behind this comma"),
        (", a", 0, "nothing before this comma"),
        ("a , , b", 4, "nothing before this comma"),
        ("a\x00b", 1, "control character"),
        ("a\x1b[31m", 1, "control character"),
        ("a\ud800", 1, "control character"),
    ],
)
def test_a_bad_query_names_the_place_and_the_reason(text: str, position: int, words: str) -> None:
    with pytest.raises(QueryError, match=words) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000,
        '"' * 10_000,
        "-" * 10_000,
        "a " * 1_000,
        " , ".join("ab" for _ in range(200)),
        "(" * 999 + "x" * 999,
        "\\" * 5_000,
        "a:" * 5_000,
    ],
)
def test_a_query_that_is_too_long_is_refused_at_once(text: str) -> None:
    started_s = time.perf_counter()
    with pytest.raises(QueryError, match=rf"at most ({QUERY_CHARS_MAX} characters|{TERMS_MAX} words)"):
        parse(text)
    assert time.perf_counter() - started_s < 0.1


def test_as_many_words_as_allowed_are_read_and_one_more_is_not() -> None:
    assert len(parse(" ".join("w" for _ in range(TERMS_MAX))).groups[0]) == TERMS_MAX
    with pytest.raises(QueryError, match="at most"):
        parse(" ".join("w" for _ in range(TERMS_MAX + 1)))
