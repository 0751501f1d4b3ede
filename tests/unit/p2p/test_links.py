import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.cid import DAG_CBOR, cid_of
from marina.errors import MalformedError
from marina.ids import Account, PeerId, base32, derive_track_id
from p2p.links import QR_CHARS_MAX, LinkProvider, is_link, make_link, parse_link, qr_text
from p2p.peerid import peer_id_from_seed
from p2p.peerkey import key_of_peer, peer_of_key
from p2p.wire.ticket import TICKET_BYTES_MAX, Ticket, TicketProvider, decode_ticket, encode_ticket
from tests.support.peers import seed

RELEASE = cid_of(b"a release", DAG_CBOR)
TRACK = derive_track_id(Account(b"a" * 20), b"s" * 32)


def provider(name: str, *addrs: str) -> LinkProvider:
    return LinkProvider(peer_id_from_seed(seed(name)), addrs or ("/ip4/203.0.113.7/tcp/4001",))


def test_a_link_gives_back_release_track_and_dialable_addresses():
    someone = provider("a")
    link = parse_link(make_link(RELEASE, [someone], track=TRACK))
    assert (link.release, link.track) == (RELEASE, TRACK)
    assert link.providers == (LinkProvider(someone.peer, (f"/ip4/203.0.113.7/tcp/4001/p2p/{someone.peer}",)),)


def test_a_link_without_providers_or_track_is_a_link():
    link = parse_link(make_link(RELEASE))
    assert link.release == RELEASE
    assert link.providers == ()
    assert link.track is None


def test_a_link_in_capitals_and_with_spaces_around_is_understood():
    text = make_link(RELEASE, [provider("a")], track=TRACK)
    assert parse_link(f"  {text.upper()}\n") == parse_link(text)


def test_a_link_takes_eight_providers_and_four_addresses_of_each():
    many = [provider(f"p{i}", *(f"/ip4/203.0.113.{j}/tcp/4001" for j in range(1, 9))) for i in range(12)]
    text = make_link(RELEASE, many)
    link = parse_link(text)
    assert [each.peer for each in link.providers] == [each.peer for each in many[:8]]
    assert {len(each.addresses) for each in link.providers} == {4}
    assert len(text) < 3400


def test_the_last_providers_are_left_out_when_a_ticket_would_be_too_long():
    name = ".".join(["x" * 30] * 4)
    many = [provider(f"p{i}", *(f"/dns4/{j}.{name}/tcp/4001" for j in range(4))) for i in range(8)]
    link = parse_link(make_link(RELEASE, many))
    assert 0 < len(link.providers) < 8
    assert link.providers[0].peer == many[0].peer


def test_addresses_that_nobody_can_dial_are_left_out():
    bad = provider("a", "/ip4/203.0.113.7/udp/4001/quic-v1", "/ip4/203.0.113.7/tcp/0", "nonsense")
    assert parse_link(make_link(RELEASE, [bad])).providers[0].addresses == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://example.org/x", "starts with"),
        ("marina:", "damaged"),
        ("marina:aaaa", "damaged"),
        (make_link(RELEASE)[:-1], "damaged"),
        (make_link(RELEASE) + "#rl_abc", "damaged"),
        (make_link(RELEASE) + "#", "damaged"),
        ("marina:" + "a" * 9000, "too long"),
        ("marina:" + base32(encode_ticket(Ticket(b"\x01" * 36, ()))), "damaged"),
    ],
)
def test_a_broken_link_is_refused_with_a_sentence(text: str, says: str):
    with pytest.raises(MalformedError, match=says):
        parse_link(text)


def test_a_ticket_with_nine_providers_is_refused():
    entry = TicketProvider(b"k" * 32, ())
    with pytest.raises(ValueError, match="providers"):
        encode_ticket(Ticket(RELEASE, (entry,) * 9))
    from marina.codec import encode

    crafted = encode(["marina/ticket/1", RELEASE, [[b"k" * 32, []]] * 9])
    with pytest.raises(MalformedError):
        decode_ticket(crafted)


@given(st.binary(max_size=TICKET_BYTES_MAX + 10))
def test_arbitrary_bytes_are_a_ticket_or_malformed(data: bytes):
    try:
        assert encode_ticket(decode_ticket(data)) == data
    except MalformedError:
        return


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_arbitrary_text_is_a_link_or_malformed(text: str):
    for candidate in (text, "marina:" + text, make_link(RELEASE) + text):
        try:
            parse_link(candidate)
        except MalformedError:
            continue


def test_ids_are_told_from_links():
    assert is_link(make_link(RELEASE))
    assert not is_link("marina:tr_abcdef")
    assert not is_link("tr_abcdef")


def test_a_qr_code_is_lines_of_half_blocks():
    text = qr_text(make_link(RELEASE, [provider("a")], track=TRACK))
    lines = text.splitlines()
    assert len(lines) > 20
    assert set(text) & {"▄", "▀", "█"}
    with pytest.raises(ValueError, match="too long"):
        qr_text("marina:" + "a" * QR_CHARS_MAX)


def test_peer_ids_and_keys_give_each_other():
    peer = peer_id_from_seed(seed("x"))
    assert peer_of_key(key_of_peer(peer)) == peer
    with pytest.raises(MalformedError):
        peer_of_key(b"short")
    with pytest.raises(MalformedError):
        key_of_peer(PeerId("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"))
