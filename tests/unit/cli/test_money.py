"""Fees as people read them: short, and never less than they are."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.amount import Currency, format_amount
from cli.money import short_amount

COIN = Currency("ETH", 18)


@pytest.mark.parametrize(
    ("exact", "short"),
    [
        ("0.000123456789012345 ETH", "0.000123457 ETH"),
        ("0.000123456 ETH", "0.000123456 ETH"),
        ("0 ETH", "0 ETH"),
        ("0.000000000000000001 ETH", "0.000000000000000001 ETH"),
        ("1234567.1 ETH", "1234570 ETH"),
        ("999999.9 ETH", "1000000 ETH"),
        ("2 DEV", "2 DEV"),
        ("100 DEV", "100 DEV"),
        ("a lot", "a lot"),
        ("", ""),
    ],
)
def test_six_digits_count(exact, short):
    assert short_amount(exact) == short


@given(st.integers(0, 2**128))
def test_what_is_shown_is_never_less_and_hardly_more(units):
    exact = format_amount(units, COIN)
    shown = Decimal(short_amount(exact).split()[0])
    assert 0 <= shown - Decimal(exact.split()[0]) <= shown * Decimal("0.00001")
