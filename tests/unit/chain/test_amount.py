"""Amounts: what is typed becomes base units exactly, and everything doubtful is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.amount import (
    UINT96_MAX,
    UINT128_MAX,
    UINT256_MAX,
    Amount,
    Currency,
    format_amount,
    format_number,
    parse_amount,
)
from marina.errors import UsageError
from marina.ids import Account

ETH = Currency("ETH", 18)
MMT = Currency("MMT", 18, Account(b"\x01" * 20))
USDC = Currency("USDC", 6, Account(b"\x02" * 20))
CATS = Currency("CATS", 0, Account(b"\x03" * 20))
TABLE = (ETH, MMT, USDC, CATS)


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("0.40ETH", 4 * 10**17, ETH),
        ("0.5 USDC", 500_000, USDC),
        ("3 wei", 3, ETH),
        ("2.5 gwei", 2_500_000_000, ETH),
        ("400MMT", 400 * 10**18, MMT),
        ("  1 eth ", 10**18, ETH),
        (".5 usdc", 500_000, USDC),
        ("7. CATS", 7, CATS),
        ("0.000000000000000001 ETH", 1, ETH),
        ("1.000000 USDC", 1_000_000, USDC),
        ("00012 wei", 12, ETH),
    ],
)
def test_amounts_become_base_units(text, value, currency):
    assert parse_amount(text, TABLE) == Amount(value, currency)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 ETH", "is nothing"),
        ("0.000 USDC", "is nothing"),
        ("-1 ETH", "is negative"),
        ("- 1 ETH", "is negative"),
        ("0.0000000000000000001 ETH", "has 19 decimals, ETH has 18"),
        ("0.0000001 USDC", "has 7 decimals, USDC has 6"),
        ("1.5 CATS", "cannot be divided"),
        ("1.5 wei", "cannot be divided"),
        ("1,5 ETH", "holds a comma"),
        ("1e18 wei", "holds an exponent"),
        ("1 BTC", "'BTC' cannot be paid with here: use CATS, ETH, MMT, USDC, wei"),
        ("1", "names no currency"),
        ("ETH", "is no amount"),
        (".", "is no amount"),
        (". ETH", "is no amount"),
        ("", "is no amount"),
        ("1 ETH 2", "is no amount"),
        ("0x10 ETH", "is no amount"),
        ("١ ETH", "is no amount"),
        ("+1 ETH", "is no amount"),
        ("1_000 ETH", "is no amount"),
        ("NaN", "is no amount"),
        ("9" * 200 + "ETH", "too long"),
        ("1\x00ETH", "is no amount"),
    ],
)
def test_what_is_no_amount_is_refused_with_its_reason(text, reason):
    with pytest.raises(UsageError, match=reason.replace(".", r"\.")) as caught:
        parse_amount(text, TABLE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [UINT96_MAX, UINT128_MAX, UINT256_MAX])
def test_the_largest_value_fits_and_one_more_does_not(limit):
    assert parse_amount(f"{limit} wei", TABLE, value_max=limit).value == limit
    with pytest.raises(UsageError, match="more than fits here"):
        parse_amount(f"{limit + 1} wei", TABLE, value_max=limit)


def test_nothing_is_an_amount_where_it_is_allowed():
    assert parse_amount("0 ETH", TABLE, is_zero_allowed=True).value == 0


def test_a_bare_number_takes_the_default_currency():
    assert parse_amount("2", TABLE, default=USDC) == Amount(2_000_000, USDC)


def test_two_tokens_with_one_symbol_are_not_guessed_between():
    twin = Currency("usdc", 18, Account(b"\x09" * 20))
    with pytest.raises(UsageError, match="2 currencies are called USDC"):
        parse_amount("1 USDC", (*TABLE, twin))


def test_a_token_named_wei_does_not_hide_behind_the_base_unit():
    token = Currency("WEI", 18, Account(b"\x09" * 20))
    assert parse_amount("1 wei", (ETH, token)) == Amount(10**18, token)


def test_wei_needs_a_native_currency():
    with pytest.raises(UsageError, match="cannot be paid with"):
        parse_amount("1 wei", (USDC,))


def test_a_currency_has_a_bounded_number_of_decimals():
    with pytest.raises(ValueError, match="decimals"):
        Currency("BAD", 256)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0, 18, "0"),
        (1, 18, "0.000000000000000001"),
        (10**18, 18, "1"),
        (15 * 10**17, 18, "1.5"),
        (100, 0, "100"),
        (-250_000, 6, "-0.25"),
    ],
)
def test_base_units_are_written_exactly(value, decimals, text):
    assert format_number(value, decimals) == text


@given(st.integers(1, UINT256_MAX), st.integers(0, 36))
def test_what_is_written_is_read_back(value, decimals):
    currency = Currency("X", decimals)
    assert parse_amount(format_amount(value, currency), (currency,)).value == value


@given(st.text(max_size=120))
def test_any_text_is_an_amount_or_a_usage_error(text):
    try:
        amount = parse_amount(text, TABLE)
    except UsageError:
        return
    assert 0 < amount.value <= UINT256_MAX
    assert amount.currency in TABLE
