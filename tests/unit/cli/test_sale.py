"""The options of a sale, as the node is asked for it, and what an artist reads."""

from __future__ import annotations

import argparse

import pytest

from cli.sale import add_sale_options, rehearsal_lines, sale_body, sale_lines
from marina.errors import UsageError

SALE = {
    "threshold": 3,
    "of": 7,
    "epoch": 1,
    "guardians": [
        {"peer": "12D3KooWabcdefgh", "account": "0xA6d6", "ready": True, "problem": None},
        {"peer": "12D3KooWstuvwxyz", "account": "0xa18A", "ready": False, "problem": "does not answer"},
    ],
    "delegates": ["12D3KooWdelegate"],
    "warnings": ["no delegate\x1b"],
}


def body_of(*words: str) -> dict[str, object] | None:
    parser = argparse.ArgumentParser()
    add_sale_options(parser)
    return sale_body(parser.parse_args(words))


def test_without_a_price_music_is_free():
    assert body_of() is None


def test_what_is_not_said_is_left_to_the_node():
    assert body_of("--price", "2DEV") == {
        "splits": [],
        "royalty_bps": 0,
        "finality": "auto",
        "prices": [{"price": "2DEV", "period": "forever", "kind": "stream"}],
    }


def test_everything_that_is_said_is_asked_for():
    holders = (
        "--guardians",
        "0",
        "--threshold",
        "1",
        "--delegate",
        "gk_x",
        "--not-before",
        "2027-01-31T18:00",
    )
    terms = ("--track-price", "1DEV", "--period", "30d", "--kind", "download", "--finality", "2")
    body = body_of(*terms, *holders, "--split", "a=10%", "--split", "b=5%", "--royalty", "8.5")
    assert body == {
        "splits": ["a=10%", "b=5%"],
        "royalty_bps": 850,
        "finality": "2",
        "guardians": 0,
        "threshold": 1,
        "delegates": ["gk_x"],
        "not_before": 1_801_418_400,
        "track_prices": [{"price": "1DEV", "period": "30d", "kind": "download"}],
    }


@pytest.mark.parametrize("words", [("--guardians", "3"), ("--delegate", "x"), ("--split", "a=1%")])
def test_guardians_and_splits_of_nothing_that_is_sold_are_a_mistake(words: tuple[str, ...]):
    with pytest.raises(UsageError, match="--price"):
        body_of(*words)


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [("1970-01-02", 86_400), ("1970-01-01T01:00+01:00", 0), ("2027-01-31T18:00:01", 1_801_418_401)],
)
def test_a_time_without_a_zone_is_utc(text: str, unix_s: int):
    body = body_of("--price", "1DEV", "--not-before", text)
    assert body is not None
    assert body["not_before"] == unix_s


@pytest.mark.parametrize("text", ["soon", "2027-13-01", "", "31.01.2027"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(UsageError, match="no time"):
        body_of("--price", "1DEV", "--not-before", text)


def test_an_artist_reads_who_keeps_the_keys_and_what_is_wrong():
    *lines, warning = sale_lines(SALE)
    assert warning.startswith("! no delegate")
    assert "\x1b" not in warning
    assert lines == [
        "keys      3 of 7 guardians, epoch 1",
        "  guardian abcdefgh  0xA6d6",
        "  guardian stuvwxyz  0xa18A  (does not answer)",
        "  delegate delegate",
    ]


def test_a_rehearsal_adds_up_its_gas():
    rows = [
        {"gas": gas, "summary": text, "under_way": None}
        for gas, text in ((392_991, "Register"), (148_891, "Anchor"))
    ]
    quote = {
        "transactions": rows, "chain": "dev", "account": "0xA6", "fee_max": "0.001 DEV", "spend": [],
        "left_today": [], "waits": False,
    }  # fmt: skip
    lines = rehearsal_lines({**SALE, "quote": quote})
    assert "  gas   541,882  in all" in lines
    assert "at most 0.001 DEV" in lines[-1]
