"""Changes as people write them, the calls that come of them, and the sentences of refusals."""

import pytest

from chain.artifacts import artifact, decode_call
from governance.calls import Call
from governance.errors import OutOfBoundsError
from governance.parameters import PARAMETERS, SWITCHES, keys, parse_change
from governance.words import describe_calls
from marina.cid import cid_from_digest, cid_text
from marina.errors import UsageError
from marina.ids import TrackId, account_text, track_text
from tests.support.governance import CONTRACTS, STRANGER, glossary

TRACK = TrackId(b"\x22" * 32)
TRACK_TEXT = track_text(TRACK)
LIST = cid_text(cid_from_digest(b"\x33" * 32))
NOBODY_TEXT = "0x" + "00" * 20
STRANGER_TEXT = account_text(STRANGER)
LICENSING, REGISTRY, GOVERNOR = "MusicLicensing", "TrackRegistry", "MarinaGovernor"
PAUSER = "Set who may pause purchases for a week to "
CHANGES = [
    ("fee=5%", LICENSING, "setFee", (500,), "Set the protocol fee to 5 %"),
    ("fee = 2.5 %", LICENSING, "setFee", (250,), "Set the protocol fee to 2.5 %"),
    (f"pauser={STRANGER_TEXT}", LICENSING, "setPauser", (STRANGER_TEXT.lower(),), PAUSER + STRANGER_TEXT),
    ("pauser=none", LICENSING, "setPauser", (NOBODY_TEXT,), PAUSER + "nobody"),
    (
        f"moderation-list={LIST}",
        REGISTRY,
        "setModerationList",
        (b"\x33" * 32,),
        f"Set the moderation list to {LIST}",
    ),
    (
        "guardian-bond=7MMT",
        "GuardianRegistry",
        "setMinBond",
        (7 * 10**18,),
        "Set the least bond of a key guardian to 7 MMT",
    ),
    (
        "voting-delay=36h",
        GOVERNOR,
        "setVotingDelay",
        (129_600,),
        "Set the time before a vote begins to 1 day 12 hours",
    ),
    (
        "voting-period=7 days",
        GOVERNOR,
        "setVotingPeriod",
        (604_800,),
        "Set the time that a vote lasts to 7 days",
    ),
    (
        "threshold=5 MMT",
        GOVERNOR,
        "setProposalThreshold",
        (5 * 10**18,),
        "Set the votes needed to propose to 5 MMT",
    ),
    ("quorum=5%", GOVERNOR, "updateQuorumNumerator", (5,), "Set the quorum to 5 %"),
    (
        "late-quorum=2 days",
        GOVERNOR,
        "setLateQuorumVoteExtension",
        (172_800,),
        "Set the time to vote after a late quorum to 2 days",
    ),
    (
        "timelock-delay=3 days",
        "TimelockController",
        "updateDelay",
        (259_200,),
        "Set the time between a vote and its execution to 3 days",
    ),
    (f"block={TRACK_TEXT}", REGISTRY, "setBlocked", (TRACK, True), f"Stop new sales of {TRACK_TEXT}"),
    (f"unblock={TRACK_TEXT}", REGISTRY, "setBlocked", (TRACK, False), f"Allow sales of {TRACK_TEXT}"),
    (
        f"allow-token={STRANGER_TEXT}",
        LICENSING,
        "setToken",
        (STRANGER_TEXT.lower(), True),
        f"Let licences be sold for the token {STRANGER_TEXT}",
    ),
    (
        f"refuse-token={STRANGER_TEXT}",
        LICENSING,
        "setToken",
        (STRANGER_TEXT.lower(), False),
        f"Stop selling licences for the token {STRANGER_TEXT}",
    ),
]


@pytest.mark.parametrize(
    ("text", "contract", "function", "args", "words"), CHANGES, ids=[each[0] for each in CHANGES]
)
def test_a_change_becomes_the_call_and_the_call_becomes_words(text, contract, function, args, words):
    call = parse_change(text, CONTRACTS)
    assert call.target == CONTRACTS.named()[contract]
    assert call.value == 0
    entry, found = decode_call(contract, call.data)
    assert (entry["name"], found) == (function, args)
    (line,) = describe_calls([call], glossary())
    assert line.text.startswith(words)
    assert line.is_understood
    assert not line.warnings


def test_every_parameter_and_switch_has_a_change_above():
    tried = {text.partition("=")[0].strip() for text, *_ in CHANGES}
    assert tried == set(keys())


def test_every_setter_and_getter_is_a_function_of_its_contract():
    for each in PARAMETERS:
        assert len(artifact(each.contract).function(each.setter)["inputs"]) == 1
        assert artifact(each.contract).function(each.getter, 0)["stateMutability"] in {"view", "pure"}
    for each in SWITCHES:
        assert [kind["type"] for kind in artifact(each.contract).function(each.setter)["inputs"]][1] == "bool"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "fee=10.01%",
            "the protocol fee cannot be 10.01 %: choose 0 % to 10 %, the contract takes no more for ever",
        ),
        ("voting-delay=1 minute", "choose 1 hour to 30 days"),
        ("voting-period=61 days", "choose 1 day to 60 days"),
        ("threshold=0 MMT", "choose 1 MMT to 50000 MMT"),
        ("quorum=0%", "the quorum cannot be 0 %"),
        ("quorum=51%", "choose 1 % to 50 %"),
        ("timelock-delay=0s", "time to leave"),
        ("guardian-bond=100001MMT", "0 MMT to 100000 MMT"),
        ("late-quorum=15 days", "0 seconds to 14 days"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_bounds(text, sentence):
    with pytest.raises(OutOfBoundsError) as caught:
        parse_change(text, CONTRACTS)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "fee",
            "fee=",
            "=3%",
            "taxes=3%",
            "fee=three",
            "fee=3",
            "pauser=0x12",
            "block=tr_x",
            "block=0x12",
        ),
        *(
            "allow-token=usdc",
            "moderation-list=bafk",
            "threshold=1 POL",
            "guardian-bond=-1MMT",
            "quorum=4.5%",
        ),
    ],
)
def test_what_is_no_change_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_change(text, CONTRACTS)
    assert "\n" not in str(caught.value)


def test_somebody_elses_value_out_of_bounds_is_shown_with_a_warning():
    period = next(each for each in PARAMETERS if each.key == "voting-period")
    from chain.artifacts import encode_call

    call = Call(CONTRACTS.governor, 0, encode_call(period.contract, period.setter, 60))
    (line,) = describe_calls([call], glossary(current={"voting-period": 432_000}))
    assert line.text == "Set the time that a vote lasts to 1 minute (now 5 days)"
    assert "outside of 1 day to 60 days" in line.warnings[0]


def test_a_change_that_changes_nothing_says_so():
    (line,) = describe_calls([parse_change("fee=5%", CONTRACTS)], glossary(current={"fee": 500}))
    assert line.warnings == ("it already has this value",)
