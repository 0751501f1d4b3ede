import pytest

from chain.amount import Amount, Currency
from chain.events import Event, Log
from governance.calls import Call
from governance.treasury import (
    Holding,
    Payment,
    collect_fees,
    executed_lines,
    grant,
    mint_grant,
    payments,
    totals,
)
from governance.words import describe_calls
from marina.errors import UsageError
from marina.ids import Account, account_text
from tests.support.governance import COIN, CONTRACTS, STRANGER, USDC, glossary

MMT = Currency("MMT", 18, CONTRACTS.token)
WHO = account_text(STRANGER)


def executed(call: Call, *, block: int = 7, name: str = "CallExecuted") -> Event:
    log = Log(CONTRACTS.timelock, (), b"", block, bytes(32), bytes(32), 0)
    values = {
        "id": b"\x0f" * 32,
        "index": 0,
        "target": bytes(call.target),
        "value": call.value,
        "data": call.data,
    }
    return Event("TimelockController", name, values, log)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (Amount(5 * 10**17, COIN), f"Pay 0.5 POL from the treasury to {WHO}"),
        (Amount(400 * 10**18, MMT), f"Pay 400 MMT from the treasury to {WHO}"),
        (Amount(1_500_000, USDC), f"Pay 1.5 USDC from the treasury to {WHO}"),
    ],
)
def test_a_grant_reads_as_the_payment_that_it_is(amount, words):
    call = grant(STRANGER, amount, CONTRACTS)
    assert describe_calls([call], glossary())[0].text == words
    (paid,) = payments([executed(call)])
    assert paid == Payment(7, b"\x0f" * 32, STRANGER, amount.currency.token, amount.value)


def test_grants_that_would_be_lost_are_refused():
    for to in (Account(bytes(20)), CONTRACTS.licensing, CONTRACTS.timelock):
        with pytest.raises(UsageError):
            grant(to, Amount(1, COIN), CONTRACTS)
    with pytest.raises(UsageError, match="above zero"):
        grant(STRANGER, Amount(0, COIN), CONTRACTS)
    with pytest.raises(UsageError):
        mint_grant(STRANGER, 0, CONTRACTS)


def test_new_money_and_collected_fees_read_as_such():
    lines = describe_calls(
        [mint_grant(STRANGER, 10**18, CONTRACTS), collect_fees(None, CONTRACTS)], glossary()
    )
    assert lines[0].text == f"Create 1 MMT for {WHO}"
    assert lines[1].text == "Pay out the POL that licences earned for the treasury"


def test_the_history_counts_payments_and_nothing_else():
    paid = (Amount(3, COIN), Amount(4, COIN), Amount(5, USDC))
    calls = [*(grant(STRANGER, each, CONTRACTS) for each in paid), Call(CONTRACTS.licensing, 0, b"\x01" * 4)]
    events = [executed(each) for each in calls] + [executed(calls[0], name="CallScheduled")]
    assert totals(payments(events)) == {None: 7, USDC.token: 5}
    assert len(executed_lines(events, glossary())) == 4


def test_a_padded_transfer_is_no_payment_record():
    call = grant(STRANGER, Amount(5, USDC), CONTRACTS)
    assert payments([executed(Call(call.target, 0, call.data + b"\x00"))]) == ()


def test_a_holding_says_what_waits():
    assert Holding(USDC, 1_000_000, 0).sentence() == "1 USDC"
    assert Holding(USDC, 1_000_000, 500_000).sentence() == "1 USDC, and 0.5 USDC of fees to collect"
