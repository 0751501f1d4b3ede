"""Keys from guardians that are dead, hung, slow, lying, late or busy."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import trio

from marina.errors import NotPermittedError
from marina.secret import Secret
from node.keys.collector import Collector, TooFewAnswersError
from node.keys.evidence import Evidence
from node.keys.fraud import fraud_of, proves_fraud
from node.keys.quorum import QuorumCheck
from p2p.wire.key import Code, decode_answer, decode_asked
from storage.content.guarded import FraudError
from tests.support.guardians import KEY, NAME, TRACK, Guardian, Party, asker


@pytest.fixture
def party(clock):
    def make(*kinds, delegates=()):
        return Party(
            [Guardian(f"g{i}", clock, kind) for i, kind in enumerate(kinds)],
            tuple(Guardian(f"d{i}", clock, kind) for i, kind in enumerate(delegates)),
        )

    return make


@pytest.fixture
def collector(clock, private):
    def make(line, rng=None):
        evidence = Evidence(private=private, clock=clock)
        return Collector(
            line=line, asker=asker(), evidence=evidence, clock=clock, rng=rng or Random(1)
        ), evidence

    return make


async def test_k_honest_guardians_give_the_key_and_the_others_are_not_asked(party, collector, autojump_clock):
    line = party(*["honest"] * 7)
    found = await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert found.key == KEY
    assert len(set(found.holders)) == 3
    assert found.block == 7
    assert sum(each.asked for each in line.guardians) == 4, "k + 1"
    assert found.faulty == ()


@pytest.mark.parametrize("off_s", [2**63, -1_700_000_000, 7200])
async def test_guardians_that_lie_about_the_time_keep_nobody_from_the_others(
    off_s, party, collector, clock, autojump_clock
):
    """Right after a purchase the honest ones have to be asked twice, and are asked with the true time."""
    line = party(*["honest"] * 7)
    for each in line.guardians[:4]:
        each.codes, each.clock_off_s = [Code.CLOCK] * 9, off_s
    for each in line.guardians[4:]:
        each.codes, each.delay_s = [Code.NO_LICENCE], 0.4
    for attempt in range(4):
        found = await collector(line, Random(attempt))[0].collect(line.box(), NAME, licence_block=7)
        assert found.key == KEY
        for each in line.guardians:
            each.codes = [Code.CLOCK] * 9 if each.clock_off_s else [Code.NO_LICENCE]


@pytest.mark.parametrize("bad", ["silent", "gone", "garbage", "forger", "liar", "other", "slow"])
async def test_with_four_of_seven_bad_the_key_comes_within_two_seconds(bad, party, collector, autojump_clock):
    line = party(*[bad] * 4, *["honest"] * 3)
    for attempt in range(6):
        began_s = trio.current_time()
        found = await collector(line, Random(attempt))[0].collect(line.box(), NAME, licence_block=7)
        assert found.key == KEY
        assert trio.current_time() - began_s < 2.0


@pytest.mark.parametrize(("bad", "is_signed"), [("garbage", False), ("forger", False), ("liar", True)])
async def test_who_answers_wrongly_is_named_and_a_signed_fault_is_proven_to_anybody(
    bad, is_signed, party, collector, autojump_clock
):
    line = party(*[bad] * 4, *["honest"] * 3)
    for each in line.guardians[4:]:
        each.delay_s = 0.01  # the bad ones are heard first
    worker, evidence = collector(line)
    found = await worker.collect(line.box(), NAME, licence_block=7)
    liars = {each.device.public_key for each in line.guardians[:4]}
    assert set(found.faulty) <= liars
    assert found.faulty, "one of the first four asked is bad"
    faults = await evidence.all()
    assert {each.holder for each in faults} == set(found.faulty)
    assert all(each.is_signed == is_signed and each.track_id == TRACK for each in faults)
    if is_signed:
        (fault, *_) = faults
        grant, request = decode_answer(fault.answer), decode_asked(fault.request)
        grant.check(fault.holder)  # the guardian signed it, over just this request
        assert grant.body.request_digest == request.digest


async def test_a_delegate_alone_gives_the_key_and_a_false_one_is_named(party, collector, autojump_clock):
    line = party(*["silent"] * 3, delegates=("honest",))
    began_s = trio.current_time()
    found = await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert (found.key, found.holders) == (KEY, (line.delegates[0].device.public_key,))
    assert trio.current_time() - began_s < 0.1
    line = party(*["honest"] * 3, delegates=("liar",))
    for each in line.guardians:
        each.delay_s = 0.01  # the delegate answers first
    found = await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert found.key == KEY
    assert found.faulty == (line.delegates[0].device.public_key,)


async def test_delegates_alone_are_enough_without_any_guardian(party, collector, autojump_clock):
    line = party(delegates=("gone", "honest"))
    found = await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert found.key == KEY


async def test_too_few_answers_say_how_many_of_how_many_and_why(party, collector, autojump_clock):
    line = party("honest", "honest", *["gone"] * 3, *["garbage"] * 2)
    with pytest.raises(TooFewAnswersError) as err:
        await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert "2 of 7 guardians released their shares and 3 are needed" in str(err.value)
    assert "stays yours" in str(err.value)
    assert err.value.exit_code == 7


async def test_two_shares_are_not_enough_even_when_guardians_are_asked_for_ever(
    party, collector, autojump_clock
):
    line = party("honest", "honest", *["silent"] * 5)
    began_s = trio.current_time()
    with pytest.raises(TooFewAnswersError):
        await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert trio.current_time() - began_s <= 12.1


async def test_a_clock_that_is_off_is_corrected_by_the_median_of_what_guardians_say(
    party, collector, autojump_clock
):
    line = party(*["honest"] * 7)
    for each in line.guardians:
        each.clock_off_s = 3600
    found = await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert found.key == KEY
    assert abs(found.clock_off_s - 3600) <= 1


async def test_guardians_whose_clocks_are_an_hour_off_do_not_hinder_the_others(
    party, collector, autojump_clock
):
    line = party(*["honest"] * 7)
    for each in line.guardians[:4]:
        each.clock_off_s = -3600
    began_s = trio.current_time()
    assert (await collector(line)[0].collect(line.box(), NAME, licence_block=7)).key == KEY
    assert trio.current_time() - began_s < 1.0


async def test_a_purchase_that_is_not_final_is_waited_for_block_by_block(party, collector, autojump_clock):
    line = party(*["honest"] * 3)
    for each in line.guardians:
        each.codes = [Code.NOT_FINAL] * 4
    began_s = trio.current_time()
    assert (await collector(line)[0].collect(line.box(), NAME, licence_block=7)).key == KEY
    assert 3.9 < trio.current_time() - began_s < 6


async def test_guardians_whose_block_is_a_second_older_are_asked_until_they_see_the_purchase(
    party, collector, autojump_clock
):
    line = party(*["honest"] * 7)
    for each in line.guardians:
        each.codes = [Code.NO_LICENCE] * 4
    began_s = trio.current_time()
    assert (await collector(line)[0].collect(line.box(), NAME, licence_block=7)).key == KEY
    assert 1.0 < trio.current_time() - began_s < 2.0


async def test_a_licence_that_guardians_never_see_is_not_asked_for_without_end(
    party, collector, autojump_clock
):
    line = party(*["honest"] * 7)
    for each in line.guardians:
        each.codes = [Code.NO_LICENCE] * 99
    began_s = trio.current_time()
    with pytest.raises(TooFewAnswersError, match="does not see the licence"):
        await collector(line)[0].collect(line.box(), NAME, licence_block=7)
    assert trio.current_time() - began_s < 6.0


async def test_a_guardian_that_is_busy_is_asked_again_when_it_said(party, collector, autojump_clock):
    line = party(*["honest"] * 3)
    for each in line.guardians:
        each.codes, each.retry_after_s = [Code.RATE], 2
    began_s = trio.current_time()
    assert (await collector(line)[0].collect(line.box(), NAME, licence_block=7)).key == KEY
    assert 2.0 <= trio.current_time() - began_s < 3.0


@pytest.mark.parametrize(
    ("code", "words"),
    [(Code.DEVICE_CAP, "six devices"), (Code.TRACK_BLOCKED, "DAO"), (Code.BINDING, "binding")],
)
async def test_what_guardians_agree_to_refuse_is_said_in_words(code, words, party, collector, autojump_clock):
    line = party(*["honest"] * 7)
    for each in line.guardians[:5]:
        each.codes = [code] * 9
    with pytest.raises(NotPermittedError, match=words):
        await collector(line)[0].collect(line.box(), NAME, licence_block=7)


async def test_shares_that_fit_and_do_not_make_the_key_are_the_artists_fraud(
    party, collector, autojump_clock
):
    line = party(*["honest"] * 3)
    box = line.box(key=Secret(b"x" * 32))
    made, evidence = collector(line)
    with pytest.raises(FraudError):
        await made.collect(box, NAME, licence_block=7)
    (proof,) = await evidence.frauds()
    assert proof.digest == box.cid[-32:], "as the chain anchors it"
    assert proves_fraud(proof, NAME)
    wounded = replace(proof, shares=(replace(proof.shares[0], share=bytes(32)), *proof.shares[1:]))
    assert not proves_fraud(wounded, NAME), "a share that the keybox does not commit to proves nothing"
    assert not proves_fraud(replace(proof, shares=proof.shares[1:]), NAME), "too few shares"
    assert not proves_fraud(replace(proof, keybox=b"rubbish"), NAME)


async def test_an_honest_keybox_is_no_fraud_whatever_shares_are_shown(party, collector, autojump_clock):
    line = party(*["honest"] * 3)
    box = line.box()
    await collector(line)[0].collect(box, NAME, licence_block=7)
    shares = {each.x: Secret(bytes([each.x]) * 32) for each in box.shares}
    assert not proves_fraud(fraud_of(box, shares, 1), NAME)


async def test_with_guardians_up_four_days_of_five_nearly_every_release_succeeds(
    party, collector, autojump_clock
):
    rng, done = Random(7), 0
    for _ in range(60):
        line = party(*["honest" if rng.random() < 0.8 else "gone" for _ in range(7)])
        try:
            await collector(line, rng)[0].collect(line.box(), NAME, licence_block=7)
        except TooFewAnswersError:
            continue
        done += 1
    assert done >= 59


async def test_a_quorum_counts_who_is_ready_and_says_what_is_with_the_others(party, autojump_clock):
    line = party("honest", "honest", "honest", "gone", "garbage", "forger", "silent")
    line.guardians[1].codes = [Code.CHAIN_UNAVAILABLE]
    found = await QuorumCheck(line=line).ask(line.box())
    assert (found.ready, found.needed, found.of, found.is_enough) == (2, 3, 7, False)
    by_name = {each.device.public_key: each for each in line.guardians}
    said = {by_name[key].name: words for key, words in found.problems.items()}
    assert said["g1"] == "does not reach its chain"
    assert said["g3"] == said["g6"] == "does not answer"
    assert said["g4"] == said["g5"] == "answered something else"
    assert "2 of 7 guardians are ready and 3 are needed" in found.sentence


async def test_a_quorum_is_there_with_k_guardians_or_one_delegate(party, autojump_clock):
    line = party(*["honest"] * 3, *["silent"] * 4)
    began_s = trio.current_time()
    found = await QuorumCheck(line=line).ask(line.box(), is_thorough=False)
    assert (found.is_enough, found.is_thin) == (True, True)
    assert trio.current_time() - began_s < 0.1, "nobody else is waited for"
    assert not (await QuorumCheck(line=party(*["honest"] * 5)).ask(party(*["honest"] * 5).box())).is_thin
    line = party(*["gone"] * 3, delegates=("honest",))
    assert (await QuorumCheck(line=line).ask(line.box())).is_enough
