"""Faults of guardians are kept in bounded room, newest first, and a full disk only loses them."""

from __future__ import annotations

from marina.clock import ManualClock
from node.keys.evidence import FAULTS_MAX, Evidence
from node.keys.fraud import KeyFraud, ProvenShare
from storage.content.keybox import KEYBOX_BYTES_MAX
from storage.errors import DiskFullError
from tests.support.guardians import TRACK


async def keep(evidence, number, why="it lied", *, is_signed=True):
    await evidence.keep(
        bytes([number]) * 32, TRACK, 1, why, request=b"r", answer=b"a", eph_key=bytes(32), is_signed=is_signed
    )


async def test_the_newest_faults_are_kept_and_the_same_one_once(private):
    evidence = Evidence(private=private, clock=ManualClock())
    for number in range(FAULTS_MAX + 10):
        await keep(evidence, number)
    for _ in range(3):
        await keep(evidence, 5 + FAULTS_MAX)
    found = await evidence.all()
    assert len(found) == FAULTS_MAX
    assert found[0].holder == bytes([5 + FAULTS_MAX]) * 32
    assert bytes(32) not in {each.holder for each in found}, "the oldest gave way"


async def test_what_proves_nothing_pushes_out_nothing_that_does(private):
    evidence = Evidence(private=private, clock=ManualClock())
    for number in range(10):
        await keep(evidence, number)
    for number in range(2 * FAULTS_MAX):
        await keep(evidence, number, is_signed=False)
    found = await evidence.all()
    assert sorted(each.holder[0] for each in found if each.is_signed) == list(range(10))
    assert len(found) == 10 + FAULTS_MAX


async def test_a_restart_forgets_nothing(private):
    await keep(Evidence(private=private, clock=ManualClock()), 1)
    (fault,) = await Evidence(private=private, clock=ManualClock()).all()
    assert (fault.holder, fault.request, fault.answer, fault.is_signed) == (b"\x01" * 32, b"r", b"a", True)


async def test_on_a_full_disk_the_music_goes_on(private, monkeypatch):
    async def refuse(*_):
        raise DiskFullError("no room")

    evidence = Evidence(private=private, clock=ManualClock())
    monkeypatch.setattr(private, "put", refuse)
    await keep(evidence, 1)
    monkeypatch.undo()
    assert await evidence.all() == []


async def test_the_largest_keybox_with_the_most_shares_can_be_kept_as_proof(private):
    shares = tuple(ProvenShare(x, bytes(33)) for x in range(1, 33))
    proof = KeyFraud(bytes(KEYBOX_BYTES_MAX), shares, 1)
    await Evidence(private=private, clock=ManualClock()).keep_fraud(proof)
    assert await Evidence(private=private, clock=ManualClock()).frauds() == [proof]
