"""A guardian releases nothing unless every check holds: each field wrong, at each check (design, T13)."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from dataclasses import replace

import pytest
import trio

from marina.codec import decode, encode
from marina.ids import Account, derive_track_id
from marina.secret import Secret
from node.guardian.former import Former
from node.guardian.judge import DEVICES_MAX, READ_S, READS_MAX
from p2p.wire.key import Code, Grant, Refusal, StatusAnswer, StatusRequest, encode_status_request
from storage.content.envelope import open_envelope
from storage.content.guarded import guarded_keybox, scope_of
from storage.content.keys import KeyName
from storage.errors import DiskFullError
from storage.identity.binding import Scope, decode_binding
from storage.identity.device import DeviceKey
from storage.kv import MemoryKv
from tests.support.guardians import CHAIN_ID, KC, KEY, NAME, REGISTRY, TRACK
from tests.support.key_chain import NOW_S
from tests.support.key_rig import DAY_S, EPHEMERAL, KeyRig, digest_of
from tests.support.peers import seed

PARTS = 4
RUNS = 5 * int(os.environ.get("MARINA_FUZZ_RUNS", "0")) or 100_000
"""In all parts together; ``make fuzz`` makes a million of them."""
FIELDS = (
    "chain_id",
    "registry",
    "track_id",
    "tier",
    "owner",
    "binding",
    "peer",
    "aud",
    "ts",
    "keybox_digest",
)
"""Those that no other value may have; nonce, one-time key and block are the device's own choice."""
OTHER = derive_track_id(Account(b"a" * 20), b"t" * 32)


async def refused(rig, message, code, **how):
    found = await rig.ask(message, **how)
    assert isinstance(found, Refusal), found
    assert found.code is code
    assert await rig.log.totals() == (0, 0), "nothing was released"


async def test_a_good_request_gets_the_share_and_is_in_the_log():
    rig = KeyRig()
    found = await rig.ask(rig.request())
    assert isinstance(found, Grant)
    assert (found.body.x, found.body.block, found.body.lease_until) == (2, 100, NOW_S + 30 * DAY_S)
    assert rig.share_in(found)
    assert await rig.log.totals() == (1, 1)


async def test_a_delegate_gives_the_whole_key_under_the_same_checks():
    rig = KeyRig(is_delegate=True)
    found = await rig.ask(rig.request())
    assert isinstance(found, Grant)
    info = scope_of(rig.box).release_info(0, found.body.request_digest)
    assert (found.body.x, open_envelope(EPHEMERAL, found.body.ct, info)) == (0, KEY)
    rig.say(licence_id=None, from_s=0, to_s=0)
    assert (await rig.ask(rig.request())).code is Code.NO_LICENCE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain_id": 1}, Code.UNSUPPORTED),
        ({"registry": b"\x01" * 20}, Code.UNSUPPORTED),
        ({"tier": 0}, Code.UNSUPPORTED),
        ({"tier": 3}, Code.UNSUPPORTED),
        ({"aud": b"\x01" * 32}, Code.WRONG_AUDIENCE),
        ({"peer": b"\x01" * 32}, Code.WRONG_PEER),
        ({"ts": NOW_S - 121}, Code.CLOCK),
        ({"ts": NOW_S + 121}, Code.CLOCK),
        ({"ts": 2**64 - 1}, Code.CLOCK),
        ({"track_id": OTHER}, Code.KEYBOX_MISMATCH),
        ({"tier": 2}, Code.KEYBOX_MISMATCH),
        ({"keybox_digest": bytes(32)}, Code.KEYBOX_MISMATCH),
        ({"owner": b"\x01" * 20}, Code.BINDING),
        ({"binding": b"\x01"}, Code.BINDING),
        ({"eph": bytes(32)}, Code.MALFORMED),
    ],
)
async def test_a_request_with_one_field_wrong_is_refused_although_it_is_signed(changes, code):
    rig = KeyRig()
    await refused(rig, rig.request(**changes), code)


async def test_a_signature_of_another_device_and_a_peer_that_is_not_the_one_are_refused():
    rig = KeyRig()
    await refused(rig, rig.request(signer=DeviceKey(seed("thief"))), Code.SIGNATURE)
    await refused(rig, rig.request(), Code.WRONG_PEER, peer=DeviceKey(seed("thief")).public_key)


async def test_a_request_that_was_heard_before_gets_nothing_the_second_time():
    rig = KeyRig()
    message = rig.request()
    assert isinstance(await rig.ask(message), Grant)
    again = await rig.ask(message)
    assert again.code is Code.RATE
    thief = await rig.ask(message, peer=DeviceKey(seed("thief")).public_key)
    assert thief.code is Code.WRONG_PEER, "and nobody else can use it"
    assert await rig.log.totals() == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"scopes": Scope.SERVE},
        {"now_s": NOW_S - 100 * DAY_S},
        {"now_s": NOW_S + DAY_S},
        {"device": DeviceKey(seed("thief"))},
        {"key": Secret(hashlib.sha256(b"somebody else").digest())},
    ],
    ids=["scope", "ended", "later", "device", "account"],
)
async def test_a_binding_that_does_not_let_this_device_ask_is_refused(changes):
    rig = KeyRig()
    await refused(rig, rig.request(binding=rig.bound(**changes)), Code.BINDING)


async def test_a_binding_older_than_the_epoch_on_the_chain_is_void():
    rig = KeyRig()
    rig.say(binding_epoch=1)
    await refused(rig, rig.request(), Code.BINDING)
    assert isinstance(await rig.ask(rig.request(binding=rig.bound(epoch=1))), Grant)


async def test_a_contract_account_is_asked_and_its_no_or_lie_helps_nobody():
    rig = KeyRig()
    somebody = rig.bound(key=Secret(hashlib.sha256(b"a signer of the wallet").digest()))
    owner = Account(b"\x77" * 20)
    fields = decode(somebody, limit_bytes=512)
    fields[1] = owner
    unsigned = encode(fields)
    await refused(rig, rig.request(owner=owner, binding=unsigned), Code.BINDING)
    binding = decode_binding(unsigned)
    again = [*fields[:-1], rig.device.sign(binding.digest)]
    message = rig.request(owner=owner, binding=encode(again))
    rig.chain.set(TRACK, owner, 1, rig.facts)
    await refused(rig, message, Code.BINDING)
    rig.chain.wallets[owner] = binding.signature
    await refused(rig, rig.request(owner=owner, binding=unsigned), Code.BINDING)  # the device did not agree
    assert isinstance(await rig.ask(rig.request(owner=owner, binding=encode(again))), Grant)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"licence_id": None, "from_s": 0, "to_s": 0}, Code.NO_LICENCE),
        ({"to_s": NOW_S}, Code.NO_LICENCE),
        ({"from_s": NOW_S + 1}, Code.NO_LICENCE),
        ({"is_blocked": True}, Code.TRACK_BLOCKED),
        ({"is_registered": False}, Code.KEYBOX_MISMATCH),
        ({"keybox_digest": None, "keybox_epoch": 0}, Code.KEYBOX_MISMATCH),
        ({"keybox_digest": b"\x01" * 32}, Code.KEYBOX_MISMATCH),
        ({"keybox_epoch": 4}, Code.KEYBOX_MISMATCH),
    ],
)
async def test_what_the_chain_does_not_say_is_not_believed(changes, code):
    rig = KeyRig()
    rig.say(**changes)
    await refused(rig, rig.request(), code)


@pytest.mark.parametrize("finality", [1, 2])
async def test_a_licence_in_a_block_that_the_artist_does_not_take_for_final_is_waited_for(finality):
    rig = KeyRig()
    rig.say(finality=finality, block=rig.chain.head)
    await refused(rig, rig.request(), Code.NOT_FINAL)
    rig.chain.head += rig.chain.depth[finality]
    assert isinstance(await rig.ask(rig.request()), Grant)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"is_blocked": True}, Code.TRACK_BLOCKED),
        ({"binding_epoch": 1}, Code.BINDING),
        ({"licence_id": None, "from_s": 0, "to_s": 0}, Code.NO_LICENCE),
    ],
    ids=["blocked", "devices revoked", "paid back"],
)
async def test_what_takes_a_right_away_holds_before_it_is_final(changes, code):
    rig = KeyRig()
    rig.say(finality=2)
    assert isinstance(await rig.ask(rig.request()), Grant)
    final = rig.facts
    rig.say(**changes)
    rig.chain.before[TRACK, rig.owner, 1] = final, rig.chain.head
    found = await rig.ask(rig.request())
    assert isinstance(found, Refusal)
    assert found.code is code


async def test_nothing_is_released_before_the_artists_day():
    rig = KeyRig(not_before=NOW_S + 100)
    found = await rig.ask(rig.request())
    assert (found.code, found.retry_after_s) == (Code.NOT_FINAL, 100)
    status = await rig.ask(status_request(rig))
    assert status.body.code == Code.NOT_FINAL, "nobody should buy it who does not mean to wait"
    rig.chain.time_s += 100
    assert (await rig.ask(status_request(rig))).body.code == 0
    assert isinstance(await rig.ask(rig.request()), Grant)


async def test_after_a_reissue_a_final_licence_opens_the_new_keybox_at_once():
    rig = KeyRig()
    rig.say(finality=2, block=1)
    newer = guarded_keybox(
        NAME, KEY, KC, chain_id=CHAIN_ID, registry=REGISTRY, epoch=4, k=1, random=os.urandom,
        guardians=[rig.home.holder],
    )  # fmt: skip
    facts_at = rig.chain.facts

    async def facts(track, account, tier, block):
        found = await facts_at(track, account, tier, block)
        if block.number == rig.chain.head:  # the reissue is in the newest block alone
            return replace(found, keybox_digest=digest_of(newer), keybox_epoch=4)
        return found

    rig.chain.facts = facts
    assert isinstance(await rig.ask(rig.request(box=newer)), Grant)


def status_request(rig):
    body = StatusRequest(
        aud=rig.home.signer.public_key, nonce=os.urandom(16), chain_id=CHAIN_ID, registry=REGISTRY,
        keybox_digest=digest_of(rig.box),
    )  # fmt: skip
    return encode_status_request(body, rig.box.to_bytes())


async def test_shares_that_a_thief_copies_into_a_track_of_his_own_open_for_nobody():
    """The envelope transplant: his track, his licence, the victim's sealed shares."""
    rig = KeyRig()
    stolen = replace(rig.box, track_id=OTHER, epoch=1)
    rig.chain.set(OTHER, rig.owner, 1, replace(rig.facts, keybox_digest=digest_of(stolen), keybox_epoch=1))
    await refused(rig, rig.request(track_id=OTHER, box=stolen), Code.NOT_MY_SHARE)
    for changes in ({"tier": 2}, {"epoch": 7}):
        moved = replace(rig.box, **changes)
        tier = changes.get("tier", 1)
        facts = replace(rig.facts, keybox_digest=digest_of(moved), keybox_epoch=changes.get("epoch", 3))
        rig.chain.set(TRACK, rig.owner, tier, facts)
        await refused(rig, rig.request(box=moved, tier=tier), Code.NOT_MY_SHARE)


async def test_a_keybox_without_this_guardian_or_with_a_false_commitment_gives_nothing():
    rig = KeyRig()
    shares = [each for each in rig.box.shares if each.guardian != rig.home.signer.public_key]
    without = replace(rig.box, n=len(shares), shares=tuple(shares))
    rig.say(keybox_digest=digest_of(without))
    await refused(rig, rig.request(box=without), Code.NOT_MY_SHARE)
    false = replace(rig.box, shares=tuple(replace(each, share_commit=bytes(32)) for each in rig.box.shares))
    rig.say(keybox_digest=digest_of(false))
    await refused(rig, rig.request(box=false), Code.NOT_MY_SHARE)


async def test_the_keybox_of_the_epoch_before_is_served_for_a_day_and_no_older_one():
    rig = KeyRig()
    name = KeyName(TRACK, 1, 0)
    newer = guarded_keybox(
        name, KEY, KC, chain_id=CHAIN_ID, registry=REGISTRY, epoch=4, k=1, random=os.urandom,
        guardians=[rig.home.holder],
    )  # fmt: skip
    rig.say(keybox_digest=digest_of(newer), keybox_epoch=4)
    await refused(rig, rig.request(), Code.KEYBOX_MISMATCH)
    rig.former = Former(digest_of(rig.box), 3, NOW_S + DAY_S)
    found = await rig.ask(rig.request())
    assert isinstance(found, Grant)
    assert rig.share_in(found)
    rig.chain.time_s += DAY_S + 1
    assert (await rig.ask(rig.request())).code is Code.KEYBOX_MISMATCH
    assert isinstance(await rig.ask(rig.request(box=newer)), Grant)


async def test_the_seventh_device_of_a_licence_waits_for_a_month():
    rig = KeyRig()

    def of(number):
        device = DeviceKey(seed(f"device {number}"))
        message = rig.request(
            peer=device.public_key, binding=rig.bound(device=device), signer=device, nonce=os.urandom(16)
        )
        return rig.ask(message, peer=device.public_key)

    for number in range(DEVICES_MAX):
        assert isinstance(await of(number), Grant)
    assert (await of(DEVICES_MAX)).code is Code.DEVICE_CAP
    assert isinstance(await of(0), Grant), "the six go on"
    assert await rig.log.totals() == (DEVICES_MAX + 1, DEVICES_MAX)


@pytest.mark.parametrize("fault", ["down", "disagree"])
async def test_without_endpoints_that_agree_nothing_is_released_and_then_it_goes_on(fault):
    rig = KeyRig()
    rig.chain.fault = fault
    await refused(rig, rig.request(), Code.CHAIN_UNAVAILABLE)
    rig.chain.fault = ""
    assert isinstance(await rig.ask(rig.request()), Grant)


async def test_endpoints_that_hang_cost_each_asker_seconds_and_requests_do_not_pile_up(autojump_clock):
    rig = KeyRig()
    rig.chain.fault = "hangs"
    answers = []

    async def ask():
        answers.append(await rig.ask(rig.request()))

    with trio.fail_after(READ_S + 1):
        async with trio.open_nursery() as nursery:
            for _ in range(3 * READS_MAX):
                nursery.start_soon(ask)
            await trio.sleep(1)
            assert rig.judge._turns.borrowed_tokens == READS_MAX
            began_s = trio.current_time()
            assert (await rig.ask(rig.request(aud=bytes(32)))).code is Code.WRONG_AUDIENCE
            assert trio.current_time() == began_s, "what needs no chain is answered at once"
    assert {(each.code, each.retry_after_s > 0) for each in answers} == {(Code.CHAIN_UNAVAILABLE, True)}
    assert rig.judge.counts["chain_unavailable"] == 3 * READS_MAX
    rig.chain.fault = ""
    assert isinstance(await rig.ask(rig.request()), Grant)


async def test_a_locked_vault_and_a_full_disk_release_nothing():
    class Full(MemoryKv):
        async def write(self, batch):
            raise DiskFullError("the disk is full")

    rig = KeyRig(store=Full())
    await refused(rig, rig.request(), Code.RATE)
    rig = KeyRig()
    rig.home.is_locked = True
    await refused(rig, rig.request(), Code.CHAIN_UNAVAILABLE)


@pytest.mark.parametrize("off_s", [3600, -3600])
async def test_a_guardian_whose_clock_is_an_hour_off_says_its_time_and_lets_no_licence_live_on(off_s):
    rig = KeyRig()
    rig.clock.set_wall(NOW_S + off_s)
    found = await rig.ask(rig.request())
    assert (found.code, found.guardian_time) == (Code.CLOCK, NOW_S + off_s)
    older = rig.bound(now_s=NOW_S - DAY_S)
    assert isinstance(await rig.ask(rig.request(ts=found.guardian_time, binding=older)), Grant)
    rig.say(to_s=NOW_S)
    assert (await rig.ask(rig.request(ts=NOW_S + off_s, binding=older))).code is Code.NO_LICENCE, (
        "blocks have the time"
    )


async def test_a_clock_that_jumps_back_opens_no_door_to_what_was_heard_before():
    rig = KeyRig()
    message = rig.request()
    assert isinstance(await rig.ask(message), Grant)
    rig.clock.advance(300)
    assert (await rig.ask(message)).code is Code.CLOCK
    rig.clock.set_wall(NOW_S)
    assert (await rig.ask(message)).code is Code.RATE, "what was heard is forgotten by another clock"


async def test_a_flood_of_unsigned_requests_makes_no_guardian_forget_or_refuse_others():
    rig = KeyRig()
    message = rig.request()
    assert isinstance(await rig.ask(message), Grant)
    thief = DeviceKey(seed("thief"))
    for _ in range(500):
        assert (await rig.ask(rig.request(signer=thief))).code is Code.SIGNATURE
    assert (await rig.ask(message)).code is Code.RATE
    assert isinstance(await rig.ask(rig.request()), Grant)


async def test_a_clock_that_is_an_hour_off_says_so_with_the_guardians_time():
    rig = KeyRig()
    found = await rig.ask(rig.request(ts=NOW_S + 3600))
    assert (found.code, found.guardian_time) == (Code.CLOCK, NOW_S)
    assert isinstance(await rig.ask(rig.request(ts=found.guardian_time)), Grant)


async def test_a_status_is_signed_carries_no_share_and_tells_whether_one_would_be_released():
    rig = KeyRig()

    async def code(box=None, **changes):
        data = (box or rig.box).to_bytes()
        body = StatusRequest(
            aud=rig.home.signer.public_key, nonce=b"n" * 16, chain_id=CHAIN_ID, registry=REGISTRY,
            keybox_digest=digest_of(box or rig.box),
        )  # fmt: skip
        found = await rig.ask(encode_status_request(replace(body, **changes), data))
        if isinstance(found, Refusal):
            return found.code
        assert isinstance(found, StatusAnswer)
        found.check(rig.home.signer.public_key)
        assert found.body.nonce == b"n" * 16
        return found.body.code

    assert await code() == 0
    assert await code(aud=bytes(32)) is Code.WRONG_AUDIENCE
    assert await code(chain_id=1) is Code.UNSUPPORTED
    assert await code(keybox_digest=bytes(32)) == Code.KEYBOX_MISMATCH
    shares = tuple(each for each in rig.box.shares if each.guardian != rig.home.signer.public_key)
    assert await code(replace(rig.box, n=6, shares=shares)) == Code.NOT_MY_SHARE
    rig.chain.fault = "down"
    assert await code() == Code.CHAIN_UNAVAILABLE
    assert await rig.log.totals() == (0, 0)


def mutated(rng, rig, good):
    """Return a message that must get nothing, and who sends it; ``good`` is one that would be answered."""
    kind = rng.random()
    sender = rig.device.public_key
    if kind < 0.75:  # any byte of the message
        data = bytearray(good)
        for place in rng.sample(range(len(data)), rng.choice((1, 1, 1, 2, 5))):
            data[place] ^= 1 << rng.randrange(8)
        if rng.random() < 0.05:
            data = data[: rng.randrange(len(data))]
        return bytes(data), sender
    if kind < 0.9:  # a field of the request, signed by the device itself
        name = rng.choice(FIELDS)
        value = {
            "chain_id": rng.choice((0, 1, 137, 2**64 - 1)),
            "registry": rng.randbytes(20),
            "track_id": rng.randbytes(32),
            "tier": rng.choice((0, 2, 3, 255)),
            "owner": rng.randbytes(20),
            "binding": rng.choice((rng.randbytes(rng.randrange(1, 300)), flipped(rng, rig.binding))),
            "peer": rng.randbytes(32),
            "aud": rng.randbytes(32),
            "ts": rng.choice((0, NOW_S - 121, NOW_S + 121, 2**64 - 1)),
            "keybox_digest": rng.randbytes(32),
        }[name]
        return rig.request(**{name: value}), sender
    if kind < 0.97:  # the keybox, with its digest put right
        return rig.request(box=flipped(rng, rig.box.to_bytes())), sender
    return good, rng.randbytes(32)  # somebody else sends it


def flipped(rng, data):
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("part", range(PARTS))
async def test_of_a_hundred_thousand_wounded_requests_none_gets_a_share(part):
    rng, rig, codes = random.Random(part), KeyRig(), Counter()
    good = rig.request()
    for number in range(RUNS // PARTS):
        message, sender = mutated(rng, rig, good)
        found = await rig.ask(message, peer=sender)
        assert not isinstance(found, Grant), (number, message.hex())
        if isinstance(found, Refusal):
            codes[found.code] += 1
    assert await rig.log.totals() == (0, 0)
    assert len(codes) >= 8, codes
    assert isinstance(await rig.ask(good), Grant), "it was good all the time, and never heard"
