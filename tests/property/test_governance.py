"""Whatever a stranger proposes can be shown; what people write comes back; states follow the clock."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.artifacts import NAMES, artifact, selector
from governance.calls import Call
from governance.delegation import VoteHistory
from governance.description import make_description, parse_description
from governance.proposal import Facts, Operation, State, next_change_s, state_of
from governance.tally import Support, Tally, extended_deadline_s
from governance.text import clean_line, clean_text, is_clean
from governance.units import format_bps, format_duration, format_mmt, parse_bps, parse_duration_s, parse_mmt
from governance.words import describe_calls, render
from marina.errors import UsageError
from marina.ids import Account
from tests.support.governance import CONTRACTS, USDC, glossary

SELECTORS = [
    (name, selector(entry)) for name in NAMES for entry in artifact(name).abi if entry["type"] == "function"
]
WORDS = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 300).map(lambda value: value.to_bytes(32)),
    st.sampled_from(sorted(CONTRACTS.named().values())).map(lambda account: bytes(12) + account),
    st.sampled_from([pair[1] for pair in SELECTORS]).map(lambda chosen: chosen + bytes(28)),
)


@st.composite
def hostile_calls(draw):
    """Call data with a real selector and words that are nearly arguments: offsets, lengths, accounts."""
    name, chosen = draw(st.sampled_from(SELECTORS))
    target = draw(st.sampled_from([CONTRACTS.named()[name], USDC.token, Account(b"\x01" * 20)]))
    body = b"".join(draw(st.lists(WORDS, max_size=16)))
    cut = draw(st.integers(0, 3))
    return Call(target, draw(st.sampled_from([0, 1, 2**255])), (chosen + body)[: len(body) + 4 - cut])


@settings(max_examples=300, deadline=None)
@given(st.lists(hostile_calls(), max_size=4))
def test_every_call_is_shown_and_the_words_are_clean(calls):
    lines = describe_calls(calls, glossary())
    assert [line.call for line in lines] == calls
    text = render(lines)
    assert all(line and is_clean(line) for line in text.splitlines())
    for line in lines:
        assert line.is_understood or line.warnings


@given(st.binary(max_size=200), st.integers(0, 2**256 - 1), st.binary(min_size=20, max_size=20))
def test_random_bytes_to_random_places_are_shown_too(data, value, target):
    (line,) = describe_calls([Call(Account(target), value, data)], glossary())
    assert line.text


@given(st.text(), st.integers(1, 50))
def test_clean_text_is_clean_and_bounded(text, chars_max):
    cleaned = clean_text(text, chars_max=chars_max)
    assert len(cleaned) <= chars_max + len(" … (cut)")
    assert clean_text(cleaned) == cleaned
    assert "\n" not in clean_line(text)


@given(st.text(max_size=150), st.text(max_size=300))
def test_a_description_that_is_accepted_comes_back(title, summary):
    try:
        made = make_description(title, summary=summary, proposer=Account(b"\x01" * 20))
    except UsageError:
        return
    found = parse_description(str(made))
    assert found.proposer == made.proposer
    assert found.title.split() == made.title.split()
    assert found.summary.split() == made.summary.split()


@given(st.text(max_size=400))
def test_any_description_is_read(raw):
    found = parse_description(raw)
    assert found.title
    assert is_clean(found.title)


@given(st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 2**128))
def test_values_survive_being_written(bps, seconds, units):
    assert parse_bps(format_bps(bps)) == bps
    assert parse_duration_s(format_duration(seconds)) == seconds
    assert parse_mmt(format_mmt(units)) == units


FACTS = st.builds(
    Facts,
    snapshot_s=st.integers(1, 100),
    deadline_s=st.integers(100, 200),
    tally=st.builds(Tally, *(st.integers(0, 9) for _ in range(3))),
    quorum=st.integers(0, 9),
    eta_s=st.sampled_from([0, 250]),
    is_executed=st.booleans(),
    is_canceled=st.booleans(),
    operation=st.sampled_from(Operation),
)


@given(FACTS, st.integers(0, 300))
def test_a_state_lasts_until_its_next_change(facts, now_s):
    state = state_of(facts, now_s)
    change_s = next_change_s(facts, now_s)
    assert state is not State.EXPIRED
    if change_s is None:
        assert state_of(facts, 10**9) is state
    else:
        assert all(state_of(facts, each) is state for each in range(now_s, change_s))


@given(st.lists(st.tuples(st.sampled_from(Support), st.integers(0, 100))), st.integers(0, 300))
def test_a_tally_is_the_sum_of_its_votes(votes, quorum):
    tally = Tally()
    for support, weight in votes:
        tally = tally.with_vote(support, weight)
    assert tally.total == sum(weight for _, weight in votes)
    assert tally.has_quorum(quorum) == (tally.missing(quorum) == 0)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_everybody_has_the_whole_extension_after_a_late_quorum(reached_s, extension_s, deadline_s):
    end_s = extended_deadline_s(reached_s, extension_s, deadline_s)
    assert end_s >= deadline_s
    assert end_s - reached_s >= extension_s


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))), st.integers(0, 60))
def test_past_votes_are_the_last_change_up_to_then(changes, at_s):
    ordered = sorted(changes, key=lambda change: change[0])
    expected = [votes for time_s, votes in ordered if time_s <= at_s]
    assert VoteHistory(ordered).past_votes(at_s) == (expected[-1] if expected else 0)
