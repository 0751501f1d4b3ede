"""Logs become events exactly, and what is no log of ours never gets through."""

from __future__ import annotations

import pytest
from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from hypothesis import given
from hypothesis import strategies as st

from chain.contracts import ContractSet
from chain.events import EventDecoder, decode_word, parse_bytes, parse_log, parse_quantity
from marina.errors import MalformedError
from marina.ids import Account
from tests.support.memory_chain import encode_event

SET = ContractSet(*(Account(bytes([0xA0 + each]) * 20) for each in range(7)))
DECODER = EventDecoder(SET.named())


def raw(contract="MarinaToken", topics=(), data=b"", **changes):
    return {
        "address": "0x" + SET.named()[contract].hex(),
        "topics": ["0x" + each.hex() for each in topics],
        "data": "0x" + data.hex(),
        "blockNumber": "0x10",
        "blockHash": "0x" + "11" * 32,
        "transactionHash": "0x" + "22" * 32,
        "logIndex": "0x3",
        **changes,
    }


def decoded(contract, name, values):
    topics, data = encode_event(contract, name, values)
    return DECODER.decode(parse_log(raw(contract, topics, data)))


address = st.binary(min_size=20, max_size=20)
word = st.binary(min_size=32, max_size=32)


@given(
    word,
    address,
    word,
    word,
    st.integers(0, 2**16 - 1),
    st.lists(st.tuples(address, st.integers(0, 2**16 - 1)), max_size=32),
)
def test_structs_in_lists_come_back_as_they_were(number, artist, release, digest, royalty, splits):
    values = {
        "id": number,
        "artist": artist,
        "releaseId": release,
        "contentDigest": digest,
        "royaltyBps": royalty,
        "splits": splits,
    }
    event = decoded("TrackRegistry", "Registered", values)
    assert event.values == {**values, "splits": tuple(splits)}
    assert (event.contract, event.name, event.log.block, event.log.index) == (
        "TrackRegistry",
        "Registered",
        16,
        3,
    )


@given(
    st.lists(
        st.tuples(address, st.integers(0, 2**256 - 1), st.text(max_size=44), st.binary(max_size=60)),
        max_size=5,
    ),
    st.text(),
)
def test_lists_and_texts_come_back_as_they_were(calls, description):
    values = {
        "proposalId": 5,
        "proposer": b"\x01" * 20,
        "targets": [each[0] for each in calls],
        "values": [each[1] for each in calls],
        "signatures": [each[2] for each in calls],
        "calldatas": [each[3] for each in calls],
        "voteStart": 1,
        "voteEnd": 2,
        "description": description,
    }
    event = decoded("MarinaGovernor", "ProposalCreated", values)
    assert event.values == {
        name: tuple(each) if isinstance(each, list) else each for name, each in values.items()
    }


@given(
    st.sampled_from(["address", "bool", "uint8", "uint40", "uint96", "uint256", "bytes1", "bytes32"]),
    st.integers(0, 2**256 - 1)
    | st.integers(0, 300)
    | st.integers(1, 2**32 - 1).map(lambda each: each << 224),
)
def test_words_are_decoded_by_hand_as_by_eth_abi(kind, number):
    word = number.to_bytes(32)
    try:
        (known,) = decode([kind], word)
    except DecodingError:
        with pytest.raises(ValueError):  # noqa: PT011 - each type has its own words
            decode_word(kind, word)
        return
    assert decode_word(kind, word) == (bytes.fromhex(known[2:]) if kind == "address" else known)


@pytest.mark.parametrize(
    ("kind", "word"), [("uint8", b""), ("uint8", bytes(31)), ("int8", bytes(32)), ("string", bytes(32))]
)
def test_what_is_no_word_is_not_decoded_by_hand(kind, word):
    with pytest.raises(ValueError, match=r"32 bytes|by hand"):
        decode_word(kind, word)


def test_a_text_that_looks_like_an_address_stays_a_text():
    text = "0x" + "ab" * 20
    values = {"licenseId": b"\x01" * 32, "trackId": text, "licensee": b"\x02" * 20}
    assert decoded("MusicLicensing", "LicenseCreated", values).values["trackId"] == text


def test_one_signature_in_two_contracts_is_told_apart_by_the_address():
    token = decoded("MarinaToken", "Transfer", {"from": b"\x01" * 20, "to": b"\x02" * 20, "value": 3})
    track = decoded("TrackRegistry", "Transfer", {"from": b"\x01" * 20, "to": b"\x02" * 20, "tokenId": 3})
    assert (token.contract, token.values["value"]) == ("MarinaToken", 3)
    assert (track.contract, track.values["tokenId"]) == ("TrackRegistry", 3)


def test_unknown_topics_addresses_and_anonymous_logs_are_passed_over():
    topics, data = encode_event(
        "MarinaToken", "Transfer", {"from": b"\x01" * 20, "to": b"\x02" * 20, "value": 3}
    )
    assert DECODER.decode(parse_log(raw(topics=[b"\x77" * 32, *topics[1:]], data=data))) is None
    assert DECODER.decode(parse_log(raw(topics=topics, data=data, address="0x" + "77" * 20))) is None
    assert DECODER.decode(parse_log(raw())) is None


@pytest.mark.parametrize(
    ("cut_topics", "data"), [(1, encode(["uint256"], [3])), (0, b""), (0, b"\x01" * 31), (0, b"\x01")]
)
def test_a_known_topic_with_other_contents_is_malformed(cut_topics, data):
    topics, _ = encode_event(
        "MarinaToken", "Transfer", {"from": b"\x01" * 20, "to": b"\x02" * 20, "value": 3}
    )
    with pytest.raises(MalformedError):
        DECODER.decode(parse_log(raw(topics=topics[: len(topics) - cut_topics], data=data)))


def test_dirty_bytes_beside_an_address_are_malformed():
    topics, data = encode_event(
        "MarinaToken", "Transfer", {"from": b"\x01" * 20, "to": b"\x02" * 20, "value": 3}
    )
    with pytest.raises(MalformedError):
        DECODER.decode(parse_log(raw(topics=[topics[0], b"\xff" * 32, topics[2]], data=data)))


@pytest.mark.parametrize(
    "offset", [0, 31, 2**255, 2**64, 32 * 7], ids=["itself", "odd", "huge", "large", "behind the end"]
)
def test_offsets_that_lead_nowhere_are_malformed(offset):
    values = {"id": b"\x01" * 32, "splitsHash": b"\x02" * 32, "splits": [(b"\x03" * 20, 10_000)]}
    topics, data = encode_event("TrackRegistry", "SplitsChanged", values)
    broken = data[:32] + offset.to_bytes(32) + data[64:]
    with pytest.raises(MalformedError):
        DECODER.decode(parse_log(raw("TrackRegistry", topics, broken)))


@given(st.binary(max_size=400))
def test_any_data_decode_or_are_malformed(data):
    for contract, name, values in (
        ("TrackRegistry", "SplitsChanged", {"id": b"\x01" * 32, "splitsHash": b"\x02" * 32, "splits": []}),
        ("MusicLicensing", "LicenseCreated", {"licenseId": bytes(32), "trackId": "", "licensee": bytes(20)}),
    ):
        topics, _ = encode_event(contract, name, values)
        try:
            event = DECODER.decode(parse_log(raw(contract, topics, data)))
        except MalformedError:
            continue
        assert event is not None


@pytest.mark.parametrize(
    "value", [None, 5, "", "5", "0x", "0x05", "0x1" + "0" * 16, "-0x1", "0xG", "0X1", "0x1\n"]
)
def test_what_is_no_quantity_is_refused(value):
    with pytest.raises(MalformedError):
        parse_quantity(value, "number")


@pytest.mark.parametrize(
    "value", [None, 5, "", "11", "0x1", "0xzz", "0x" + "11" * 19, "0x" + "11" * 21, "0x11 "]
)
def test_what_are_no_twenty_bytes_is_refused(value):
    with pytest.raises(MalformedError):
        parse_bytes(value, "address", 20)


def test_data_are_bounded():
    with pytest.raises(MalformedError):
        parse_bytes("0x" + "00" * ((1 << 20) + 1), "data")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_any_json_is_a_log_or_malformed(value):
    with pytest.raises(MalformedError):
        parse_log(value)
