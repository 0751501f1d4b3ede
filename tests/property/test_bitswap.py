"""Bitswap's messages and wantlists: nothing hostile raises more than it says, everything ours comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from libp2p.bitswap.pb.bitswap_pb2 import Message as Wire

from marina.cid import DAG_CBOR, DAG_PB, RAW, cid_from_digest, cid_of, digest_of, known_cid
from marina.errors import MalformedError
from p2p.bitswap.messages import (
    BLOCK_BYTES_MAX,
    ENTRIES_MAX,
    Message,
    Presence,
    Want,
    WantKind,
    decode_message,
    prefix_of,
)
from p2p.bitswap.wants import WANTS_MAX, PeerWants
from tests.support.swapping import message

digests = st.binary(min_size=32, max_size=32)
codecs = st.sampled_from([RAW, DAG_PB, DAG_CBOR])
cids = st.builds(cid_from_digest, digests, codecs)
names = st.one_of(cids.map(bytes), digests.map(lambda digest: b"\x12\x20" + digest))
wants = st.builds(
    Want, names, st.sampled_from(WantKind), st.integers(-(2**31), 2**31 - 1), st.booleans(), st.booleans()
)
presences = st.builds(Presence, names, st.booleans())
blocks = st.tuples(codecs, st.binary(max_size=200))


@given(
    st.lists(wants, max_size=20), st.booleans(), st.lists(blocks, max_size=5), st.lists(presences, max_size=9)
)
def test_a_message_comes_back_as_it_was_sent(entries, is_full, sent, told) -> None:
    named = [(bytes(cid_of(data, codec)), data) for codec, data in sent]
    frame = message(wants=entries, is_full=is_full, blocks=named, presences=told)
    arrived = tuple((cid_of(data, codec), data) for codec, data in sent)
    assert decode_message(frame) == Message(tuple(entries), is_full, arrived, tuple(told))
    wire = Wire()
    wire.ParseFromString(frame)
    assert [(prefix_of(name), data) for name, data in named] == [
        (each.prefix, each.data) for each in wire.payload
    ]
    assert decode_message(wire.SerializeToString()) == decode_message(frame)


@given(st.binary(max_size=400))
def test_bytes_of_any_kind_are_a_message_or_malformed(data) -> None:
    try:
        decode_message(data)
    except MalformedError:
        return


@given(st.lists(blocks, min_size=1, max_size=3), st.data())
def test_a_flipped_byte_never_yields_a_block_under_the_old_name(sent, drawn) -> None:
    named = [(bytes(cid_of(data, codec)), data) for codec, data in sent]
    frame = bytearray(message(blocks=named))
    place = drawn.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= 1 << drawn.draw(st.integers(0, 7))
    try:
        found = decode_message(frame).blocks
    except MalformedError:
        return
    assert all(cid_of(data, cid[1]) == cid for cid, data in found)


@given(digests)
def test_a_version_0_name_is_a_dag_pb_node_and_its_prefix_is_written_out(digest) -> None:
    name = b"\x12\x20" + digest
    assert known_cid(name) == cid_from_digest(digest, DAG_PB)
    assert prefix_of(name) == b"\x00\x70\x12\x20"
    assert prefix_of(bytes(cid_from_digest(digest))) == b"\x01\x55\x12\x20"


def test_every_message_carries_a_wantlist_even_an_empty_one() -> None:
    wire = Wire()
    wire.ParseFromString(message(presences=[Presence(bytes(cid_of(b"x")), False)]))
    assert wire.HasField("wantlist")


def test_a_version_0_block_is_taken_in_and_blocks_of_other_hashes_are_left_out() -> None:
    node = b"\x0a\x00"
    wire = Wire()
    wire.payload.add(prefix=b"\x00\x70\x12\x20", data=node)
    wire.payload.add(prefix=b"\x01\x55\x1e\x20", data=b"blake3")
    wire.payload.add(prefix=b"", data=b"nothing")
    assert decode_message(wire.SerializeToString()).blocks == ((cid_of(node, DAG_PB), node),)


def test_what_is_larger_than_the_protocol_allows_is_malformed() -> None:
    name = bytes(cid_of(b"x"))
    for wire in (
        Wire(wantlist={"entries": [{"block": name}] * (ENTRIES_MAX + 1)}),
        Wire(blockPresences=[{"cid": name}] * (ENTRIES_MAX + 1)),
        Wire(payload=[{"prefix": b"", "data": b""}] * (ENTRIES_MAX + 1)),
        Wire(payload=[{"prefix": prefix_of(name), "data": bytes(BLOCK_BYTES_MAX + 1)}]),
        Wire(wantlist={"entries": [{"block": bytes(129)}]}),
        Wire(wantlist={"entries": [{"block": b""}]}),
    ):
        try:
            decode_message(wire.SerializeToString())
        except MalformedError:
            continue
        raise AssertionError("it was taken for a message")


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.integers(-5, 5)), max_size=200))
def test_wants_are_served_once_by_priority_and_not_after_they_were_cancelled(changes) -> None:
    found, model = PeerWants(), {}
    for number, is_cancel, priority in changes:
        name = bytes(cid_of(bytes([number])))
        found.update([Want(name, priority=priority, is_cancel=is_cancel)], is_full=False)
        if is_cancel:
            model.pop(name, None)
        else:
            model[name] = priority
    served = []
    while (want := found.take()) is not None:
        served.append((want.name, want.priority))
        found.done(want)
    assert dict(served) == model
    assert len(served) == len(model)
    assert [priority for _, priority in served] == sorted(model.values(), reverse=True)
    assert len(found) == 0


def test_a_peer_has_at_most_1024_wants_and_a_full_wantlist_replaces_them() -> None:
    found = PeerWants()
    names = [bytes(cid_of(number.to_bytes(4))) for number in range(WANTS_MAX + 50)]
    assert found.update(map(Want, names), is_full=False) == 50
    assert len(found) == WANTS_MAX
    assert found.update([Want(names[-1])], is_full=True) == 0
    assert len(found) == 1


def test_wants_that_change_for_ever_do_not_pile_up() -> None:
    found = PeerWants()
    name = bytes(cid_of(b"x"))
    for priority in range(50_000):
        found.update([Want(name, priority=priority)], is_full=False)
    assert len(found._ready) <= 4 * WANTS_MAX
    assert digest_of(cid_of(b"x")) == found.take().name[4:]


def test_a_want_for_an_absent_block_waits_until_it_arrives() -> None:
    found = PeerWants()
    want = Want(bytes(cid_of(b"x")))
    found.update([want], is_full=False)
    assert found.take() is want
    assert not found.has_ready
    assert not found.arrived(bytes(cid_of(b"y")))
    assert found.arrived(want.name)
    assert found.take() is want
    found.done(want)
    assert not found.arrived(want.name)
