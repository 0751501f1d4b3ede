import pytest

from governance.units import (
    format_bps,
    format_duration,
    format_mmt,
    parse_bps,
    parse_duration_s,
    parse_mmt,
    parse_percent,
)
from marina.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bps"), [("3%", 300), ("2.5 %", 250), ("0.01%", 1), ("0%", 0), ("10.00%", 1_000)]
)
def test_percentages_are_exact(text, bps):
    assert parse_bps(text) == bps
    assert parse_bps(format_bps(bps)) == bps


@pytest.mark.parametrize("text", ["3", "-3%", "2,5%", "1e2%", "0.001%", "%", "٣%", "3%%", "", "3%" * 100])
def test_what_is_no_percentage_is_refused(text):
    with pytest.raises(UsageError):
        parse_bps(text)


def test_a_whole_percentage_has_no_fraction():
    assert parse_percent("4%") == 4
    with pytest.raises(UsageError, match="whole"):
        parse_percent("4.5%")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5 days", 432_000),
        ("36h", 129_600),
        ("1d 12h", 129_600),
        ("90 minutes", 5_400),
        ("1 week", 604_800),
        ("0s", 0),
    ],
)
def test_lengths_of_time_are_read_as_people_write_them(text, seconds):
    assert parse_duration_s(text) == seconds
    assert parse_duration_s(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["5", "days", "-5d", "5 dayss ", "1.5d", "5d and", "", "5 d" * 100])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(UsageError):
        parse_duration_s(text)


def test_times_and_amounts_in_words():
    assert format_duration(90_061) == "1 day 1 hour 1 minute 1 second"
    assert format_duration(172_800) == "2 days"
    assert format_mmt(parse_mmt("1000.5")) == "1000.5 MMT"
    assert parse_mmt("7 mmt") == 7 * 10**18
