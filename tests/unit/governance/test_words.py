"""Calls in words: payments, powers, batches within batches, and everything that is hostile or unknown."""

from eth_hash.auto import keccak

from chain.artifacts import encode_call
from governance.calls import Call, columns
from governance.parameters import parse_change
from governance.words import CALL_BYTES_MAX, DEPTH_MAX, describe_calls, render
from marina.ids import Account, account_text
from tests.support.governance import CONTRACTS, STRANGER, USDC, glossary

FEE = parse_change("fee=5%", CONTRACTS)
MMT = 10**18


def line_of(call: Call, **changes):
    (line,) = describe_calls([call], glossary(**changes))
    return line


def call(contract: str, function: str, *args, value: int = 0) -> Call:
    return Call(CONTRACTS.named()[contract], value, encode_call(contract, function, *args))


def batch(*calls: Call, function: str = "scheduleBatch") -> Call:
    delay = [172_800] if function == "scheduleBatch" else []
    return call("TimelockController", function, *columns(calls), bytes(32), bytes(32), *delay)


def test_payments_of_every_kind_name_the_amount_and_who_gets_it():
    who = account_text(STRANGER)
    assert line_of(Call(STRANGER, 5 * 10**17, b"")).text == f"Pay 0.5 POL from the treasury to {who}"
    mmt = call("MarinaToken", "transfer", STRANGER, 400 * MMT)
    assert line_of(mmt).text == f"Pay 400 MMT from the treasury to {who}"
    usdc = Call(USDC.token, 0, encode_call("MarinaToken", "transfer", STRANGER, 1_500_000))
    assert (
        line_of(usdc, names={STRANGER: "Ada\u202e"}).text == f"Pay 1.5 USDC from the treasury to Ada ({who})"
    )
    assert not line_of(usdc).all_warnings()


def test_an_unlimited_approval_is_called_what_it_is():
    line = line_of(call("MarinaToken", "approve", STRANGER, 2**256 - 1))
    assert "take everything, for ever, from the treasury's MMT" in line.text
    assert "at any time" in line.warnings[0]


def test_powers_and_new_money_come_with_a_warning():
    role = bytes(keccak(b"PROPOSER_ROLE"))
    line = line_of(call("TimelockController", "grantRole", role, STRANGER))
    assert (
        line.text
        == f"Allow {account_text(STRANGER)} to queue calls in the timelock, which holds the treasury"
    )
    assert line.warnings
    assert (
        "anybody to execute calls of"
        in line_of(call("TimelockController", "grantRole", bytes(keccak(b"EXECUTOR_ROLE")), bytes(20))).text
    )
    assert "dilutes" in line_of(call("MarinaToken", "mint", STRANGER, MMT)).warnings[0]


def test_an_unknown_contract_and_an_unknown_function_are_shown_raw():
    unknown = line_of(Call(STRANGER, 3, b"\xde\xad\xbe\xef" + bytes(300)))
    assert not unknown.is_understood
    assert f"the unknown contract {account_text(STRANGER)} with 0.000000000000000003 POL" in unknown.text
    assert "0xdeadbeef" in unknown.text
    assert "48 bytes more" in unknown.text
    known = line_of(Call(CONTRACTS.licensing, 0, b"\xde\xad\xbe\xef"))
    assert known.text.startswith("Call MusicLicensing (0x")
    assert known.text.endswith("raw data 0xdeadbeef")
    assert known.warnings == unknown.warnings
    assert not line_of(Call(STRANGER, 0, b"")).is_understood


def test_only_the_common_functions_of_a_foreign_token_are_explained():
    mint = Call(USDC.token, 0, encode_call("MarinaToken", "mint", STRANGER, 1))
    assert not line_of(mint).is_understood


def test_cut_arguments_are_raw_and_extra_bytes_are_noticed():
    assert not line_of(Call(FEE.target, 0, FEE.data[:-1])).is_understood
    longer = line_of(Call(FEE.target, 0, FEE.data + b"\x01"))
    assert longer.text == "Set the protocol fee to 5 %"
    assert "more than the arguments" in longer.warnings[0]


def test_coins_sent_to_a_function_that_takes_none_are_noticed():
    line = line_of(Call(FEE.target, 10**18, FEE.data))
    assert line.warnings == (
        "it also sends 1 POL along",
        "setFee takes no coins: executing the proposal would fail",
    )


def test_a_batch_within_a_batch_is_unfolded_to_its_last_call():
    inner = batch(FEE, Call(STRANGER, 10**18, b""))
    line = line_of(batch(inner))
    assert line.text == "Queue these calls in the timelock, to be executed after 2 days"
    assert [each.text for each in line.inner[0].inner] == [
        "Set the protocol fee to 5 %",
        f"Pay 1 POL from the treasury to {account_text(STRANGER)}",
    ]
    assert "1. Set the protocol fee to 5 %" in render([line])
    relayed = line_of(call("MarinaGovernor", "relay", *FEE_ARGS))
    assert [each.text for each in relayed.inner] == ["Set the protocol fee to 5 %"]


FEE_ARGS = (bytes(FEE.target), 0, FEE.data)


def test_nesting_without_end_ends_raw():
    nested = FEE
    for _ in range(DEPTH_MAX + 3):
        nested = batch(nested, function="executeBatch")
    line = line_of(nested)
    for _ in range(DEPTH_MAX + 1):
        (line,) = line.inner
    assert not line.is_understood
    assert not line.inner


def test_a_bomb_of_calls_stays_small():
    many = batch(*[Call(STRANGER, 1, b"")] * 150)
    assert len(line_of(many).inner) == 150
    lines = describe_calls([many, many], glossary())
    assert [line.is_understood for line in lines] == [True, False]
    huge = Call(CONTRACTS.timelock, 0, batch(Call(STRANGER, 0, bytes(CALL_BYTES_MAX))).data)
    assert not line_of(huge).is_understood


def test_arrays_of_different_lengths_hide_nothing():
    odd = call(
        "TimelockController",
        "scheduleBatch",
        [bytes(STRANGER), bytes(FEE.target)],
        [1],
        [b"", FEE.data, b"\x01\x02\x03\x04"],
        bytes(32),
        bytes(32),
        0,
    )
    texts = [each.text for each in line_of(odd).inner]
    assert len(texts) == 3
    assert texts[1] == "Set the protocol fee to 5 %"
    assert "0x01020304" in texts[2]


def test_text_in_arguments_cannot_touch_the_terminal():
    hostile = "\x1b[2J\u202eok" + "x" * 1_000
    line = line_of(call("MarinaGovernor", "castVoteWithReason", 7, 1, hostile))
    assert "\x1b" not in line.text
    assert "\u202e" not in line.text
    assert "(cut)" in line.text
    proposing = call("MarinaGovernor", "propose", [bytes(FEE.target)], [0], [FEE.data], hostile)
    assert "\x1b" not in line_of(proposing).text


def test_any_other_function_is_shown_with_its_arguments():
    line = line_of(call("TrackRegistry", "setRoyalty", b"\x11" * 32, 500))
    assert line.text == f"Call TrackRegistry.setRoyalty(id = 0x{'11' * 32}, royaltyBps = 500)"
    assert line_of(call("MusicLicensing", "pause")).text.startswith("Stop new purchases for a week")
    reading = line_of(call("MarinaToken", "totalSupply"))
    assert reading.text == "Call totalSupply() of MarinaToken"
    assert "changes nothing" in reading.warnings[0]


def test_the_treasury_and_the_contracts_are_called_by_name():
    paid = line_of(Call(CONTRACTS.licensing, 1, b""))
    assert "to MusicLicensing (0x" in paid.text
    moved = call("MarinaToken", "transferFrom", STRANGER, CONTRACTS.timelock, MMT)
    assert line_of(moved).text == f"Move 1 MMT from {account_text(STRANGER)} to the treasury"
    assert account_text(Account(bytes(20))) not in line_of(call("MarinaToken", "delegate", bytes(20))).text
