"""Small promises of the kernel: ids, CIDs, secrets, logs, buckets, backoff."""

from __future__ import annotations

import copy
import io
import json
import logging
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina import cid as cids
from marina import ids
from marina.clock import ManualClock
from marina.dagcbor import Link
from marina.dagcbor import decode as decode_dag
from marina.dagcbor import encode as encode_dag
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.log import JsonFormatter, redact_text
from marina.ratelimit import TokenBucket
from marina.retry import Backoff
from marina.secret import Secret

ACCOUNT = ids.Account(bytes.fromhex("9858effd232b4033e47d90003d41ec34ecaeda94"))


def test_a_track_id_is_the_keccak_of_the_abi_encoding():
    from eth_abi import encode
    from eth_utils import keccak

    salt = bytes(range(32))
    assert ids.derive_track_id(ACCOUNT, salt) == keccak(encode(["address", "bytes32"], [ACCOUNT, salt]))


def test_an_account_prints_with_its_checksum():
    assert ids.account_text(ACCOUNT) == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"


@given(st.binary(min_size=32, max_size=32))
def test_an_id_survives_its_text(raw):
    assert ids.parse_track(ids.track_text(ids.TrackId(raw))) == raw
    assert ids.parse_release("marina:" + ids.release_text(ids.ReleaseId(raw))) == raw


@pytest.mark.parametrize(
    "text", ["", "tr_", "rl_aaaa", "tr_AAAA", "tr_" + "a" * 51, "tr_" + "a" * 53, "tr_0189"]
)
def test_other_text_is_no_track_id(text):
    with pytest.raises(MalformedError):
        ids.parse_track(text)


def test_a_prefix_stands_for_an_id_when_it_is_long_and_unique():
    known = [("tr_abcdefgh", 1), ("tr_abcdefxx", 2), ("tr_zzzzzzzz", 3)]
    assert ids.resolve_prefix("tr_zzzzzz", known, noun="track") == 3
    assert ids.resolve_prefix("marina:tr_abcdefg", known, noun="track") == 1
    with pytest.raises(UsageError, match="fits 2"):
        ids.resolve_prefix("tr_abcdef", known, noun="track")
    with pytest.raises(UsageError, match="too short"):
        ids.resolve_prefix("tr_abc", known, noun="track")
    with pytest.raises(NotFoundError, match="marina find"):
        ids.resolve_prefix("tr_qqqqqq", known, noun="track")


def test_a_cid_prints_as_other_tools_print_it():
    # `printf hello | ipfs add --cid-version=1 --only-hash`
    hello = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
    assert cids.cid_text(cids.cid_of(b"hello")) == hello
    assert cids.parse_cid(hello) == cids.cid_of(b"hello")


@given(st.text(max_size=70))
def test_other_text_is_no_cid(text):
    with pytest.raises(MalformedError):
        cids.parse_cid(text)


nodes = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.binary(max_size=40),
        st.text(max_size=20),
        st.binary(min_size=32, max_size=32).map(lambda d: Link(cids.cid_from_digest(d))),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(nodes)
def test_dag_cbor_keeps_links_apart_from_bytes_that_look_like_them(node):
    data = encode_dag({"node": node, "lookalike": bytes(cids.cid_of(b"x"))})
    assert decode_dag(data, limit_bytes=1 << 20) == {"node": node, "lookalike": bytes(cids.cid_of(b"x"))}


@given(nodes)
def test_dag_cbor_is_read_alike_by_an_independent_implementation(node):
    import libipld

    def plain(value):
        if isinstance(value, Link):
            return bytes(value.cid)
        if isinstance(value, list):
            return [plain(item) for item in value]
        return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value

    assert libipld.decode_dag_cbor(encode_dag({"n": node})) == {"n": plain(node)}


@given(st.binary(max_size=200))
def test_random_bytes_are_dag_cbor_with_exactly_those_bytes_or_malformed(data):
    try:
        node = decode_dag(data, limit_bytes=1000)
    except MalformedError:
        return
    assert encode_dag(node) == data


@pytest.mark.parametrize(
    "data",
    [b"\x81" * 5000 + b"\x80", b"\x9f\x01\xff", b"\xfb" + bytes(8), b"\xa2\x61b\x01\x61a\x01",
     b"\xd8\x1c\x81\xd8\x1d\x00", b"\xa1\x01\x02", b"\x18\x01", b"\xf7", b"\xd8\x2a\x41\x00", b"\x01\x02"],
)  # fmt: skip
def test_hostile_dag_cbor_is_malformed(data):
    with pytest.raises(MalformedError):
        decode_dag(data, limit_bytes=10_000)


def test_a_secret_never_prints():
    secret = Secret("abandon ability")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret])):
        assert "abandon" not in text
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    assert Secret(b"a") == Secret(b"a") != Secret(b"b")
    assert secret.reveal() == "abandon ability"


def log_line(message, **kwargs):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("marina.test-kernel")
    logger.propagate = False
    logger.handlers[:] = [handler]
    logger.warning(message, **kwargs)
    return json.loads(stream.getvalue())


def test_a_log_line_has_the_eight_keys_and_no_secret():
    try:
        raise ValueError("Bearer abc.def.ghi is bad")
    except ValueError:
        line = log_line(
            "opened /stream/tick3t",
            exc_info=True,
            extra={
                "context": {
                    "passphrase": "hunter2",
                    "peer": "12D3",
                    "nested": {"api_token": "t0ken"},
                    "held": Secret("s3cret"),
                }
            },
        )
    assert list(line) == ["timestamp", "level", "message", "service", "version", "context", "error", "stack"]
    assert line["level"] == "WARNING"
    assert line["context"]["peer"] == "12D3"
    text = json.dumps(line)
    for secret in ("hunter2", "t0ken", "s3cret", "abc.def", "tick3t"):
        assert secret not in text
    assert redact_text("http://127.0.0.1:7787/#code=abc") == "http://127.0.0.1:7787/***"


def test_a_bucket_allows_its_burst_and_then_its_rate():
    bucket = TokenBucket(10, 5, 0.0)
    assert [bucket.try_take(1, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.wait_s(1, 0.0) == pytest.approx(0.1)
    assert bucket.try_take(1, 0.1)
    assert bucket.take(11, 0.1) == pytest.approx(1.1)
    assert not bucket.try_take(0.1, 1.1)


def test_backoff_stays_below_its_bounds_and_ends():
    delays = list(Backoff(base_s=1, cap_s=4, tries_max=6).delays(Random(1)))
    assert len(delays) == 5
    assert all(0 <= delay <= bound for delay, bound in zip(delays, [1, 2, 4, 4, 4], strict=True))


def test_a_manual_clock_moves_only_when_told():
    clock = ManualClock(100)
    clock.advance(2.5)
    assert (clock.now_s(), clock.monotonic_s()) == (102, 2.5)
    clock.set_wall(50)
    assert (clock.now_s(), clock.monotonic_s()) == (50, 2.5)
