"""Whatever bytes a peer sends, a record comes out or MalformedError does; what was signed cannot be bent."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.cid import DAG_CBOR, cid_of
from marina.errors import MalformedError, MarinaError
from marina.schema import encode_record
from p2p.wire import gossip, pledge, search
from p2p.wire.gossip import Announcement, Have, OutOfTimeError
from p2p.wire.pledge import Ask, Offer, Pledge, PledgeReply, PledgeRequest, open_vouched, vouch
from p2p.wire.search import ReleaseHit, SearchReply, SearchRequest
from tests.support.identities import identity

ME = identity("me")
CID = cid_of(b"release", DAG_CBOR)
KEY, ACCOUNT = ME.signer.public_key, ME.account
NOW = 1_700_000_000
RECORDS = [
    Offer(ACCOUNT, KEY, 10, 10, 10, NOW, NOW + 9),
    Ask(ACCOUNT, KEY, b"o" * 32, CID, 10, NOW, b"n" * 16),
    Pledge(ACCOUNT, KEY, CID, 10, NOW, b"n" * 16),
]


def trust_everyone(binding: bytes, peer: bytes):
    return ACCOUNT


def open_as(kind, data: bytes):
    return open_vouched(kind, data, trust_everyone)


def decoders():
    yield pledge.decode_request, encode_record(PledgeRequest(pledge.Kind.STATUS.value, CID, 0))
    yield pledge.decode_reply, encode_record(PledgeReply(0, 0, 10**9, 0))
    yield search.decode_request, encode_record(SearchRequest("a song", 5))
    reply = SearchReply(0, (ReleaseHit(CID, ACCOUNT, b"s" * 65),))
    yield (lambda data: search.decode_reply(data, 5)), encode_record(reply)
    for item in RECORDS:
        yield partial(open_as, type(item)), vouch(item, ME.signer, b"b")
    announcement = Announcement(ACCOUNT, KEY, b"r" * 32, CID, 1, NOW, ("/ip4/10.0.0.1/tcp/1",))
    yield (
        lambda data: gossip.open_announcement(data, check_binding=trust_everyone, now_s=NOW),
        gossip.seal_announcement(announcement, ME.signer, b"b"),
    )
    have = Have(KEY, (CID,), NOW, ())
    yield (lambda data: gossip.open_have(data, now_s=NOW)), gossip.seal_have(have, ME.signer)


CASES = list(decoders())
SIGNED = CASES[4:]


@pytest.mark.parametrize("case", range(len(CASES)))
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=600))
def test_arbitrary_bytes_are_a_record_or_malformed(case: int, data: bytes):
    decode, good = CASES[case]
    assert decode(good) is not None
    try:
        decode(data)
    except (MalformedError, OutOfTimeError):
        return


@pytest.mark.parametrize("case", range(len(SIGNED)))
@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_of_a_signed_record_can_be_flipped(case: int, position: int, bit: int):
    decode, good = SIGNED[case]
    bent = bytearray(good)
    bent[position % len(bent)] ^= 1 << bit
    try:
        item = decode(bytes(bent))
    except MarinaError:
        return
    # Only the binding's own bytes, which its verifier judges, are outside of the signature.
    assert item == decode(good)


@pytest.mark.parametrize("item", RECORDS)
def test_a_record_of_one_kind_is_not_one_of_another(item):
    data = vouch(item, ME.signer, b"b")
    for other in RECORDS:
        if type(other) is not type(item):
            with pytest.raises(MalformedError):
                open_vouched(type(other), data, trust_everyone)


def test_a_binding_of_another_account_is_refused():
    data = vouch(RECORDS[0], ME.signer, b"b")
    with pytest.raises(MalformedError, match="another account"):
        open_vouched(Offer, data, lambda binding, peer: b"x" * 20)


def test_headers_say_what_follows():
    ask = encode_record(PledgeRequest(pledge.Kind.ASK.value, b"", 0))
    status = encode_record(PledgeRequest(pledge.Kind.STATUS.value, b"", 0))
    offer = encode_record(PledgeRequest(pledge.Kind.OFFER.value, b"", 5))
    for data in (ask, status, offer):
        with pytest.raises(MalformedError):
            pledge.decode_request(data)


def test_the_largest_search_reply_fits_its_frame():
    hits = tuple(
        ReleaseHit(cid_of(b"%d" % i, DAG_CBOR), ACCOUNT, b"s" * search.SIGNATURE_BYTES_MAX)
        for i in range(search.HITS_MAX)
    )
    data = search.encode_reply(SearchReply(0, hits))
    assert len(data) <= search.REPLY_BYTES_MAX
    assert search.decode_reply(data, search.HITS_MAX).hits == hits
