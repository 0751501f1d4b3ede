"""Addresses and peer ids."""

import pytest

from marina.errors import MalformedError
from marina.ids import PeerId
from marina.secret import Secret
from p2p import addresses
from p2p.peerid import peer_id_from_seed, short, to_libp2p

PEER = peer_id_from_seed(Secret(b"s" * 32))


def test_a_seed_gives_the_same_ed25519_peer_id_each_time() -> None:
    assert peer_id_from_seed(Secret(b"s" * 32)) == PEER
    assert PEER.startswith("12D3Koo")
    assert to_libp2p(PEER).to_base58() == PEER
    assert short(PEER) == "…" + PEER[-8:]


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        peer_id_from_seed(Secret(b"s" * 31))


@pytest.mark.parametrize("text", ["", "x", "0OIl", "a" * 129, "12D3Koo", PEER + "1", "Qm" * 22])
def test_text_that_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        to_libp2p(PeerId(text))


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/4001",
        "/ip6/::1/tcp/1",
        "/dns4/example.org/tcp/4001",
        f"/ip4/1.2.3.4/tcp/5/p2p/{PEER}",
    ],
)
def test_tcp_addresses_round_trip(text: str) -> None:
    assert str(addresses.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/4001",
        "/ip4/127.0.0.1/udp/4001/quic-v1",
        "/ip4/127.0.0.1/tcp/4001/ws",
        "/ip4/300.0.0.1/tcp/1",
        "/ip4/1.2.3.4/tcp/70000",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit",
        "/unix/tmp/socket",
        "/ip4/1.2.3.4/tcp/1" + "/tcp/1" * 200,
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        addresses.parse(text)


def test_with_peer_replaces_the_id() -> None:
    other = peer_id_from_seed(Secret(b"o" * 32))
    assert addresses.with_peer(f"/ip4/1.2.3.4/tcp/5/p2p/{other}", PEER).endswith(PEER)


def test_private_addresses_count_only_from_a_local_teller() -> None:
    told = ["/ip4/192.168.1.1/tcp/80", "/ip4/8.8.8.8/tcp/80", "nonsense", "/ip4/127.0.0.1/tcp/1"]
    assert addresses.worth_dialling(told, teller_is_local=False) == ["/ip4/8.8.8.8/tcp/80"]
    assert len(addresses.worth_dialling(told, teller_is_local=True)) == 3


async def test_names_are_resolved_and_unknown_ones_left_out() -> None:
    found = await addresses.resolve(
        ["/dns4/localhost/tcp/7", "/ip4/1.2.3.4/tcp/5", "/dns4/no-such-name.invalid/tcp/1", "junk"]
    )
    assert found == ["/ip4/127.0.0.1/tcp/7", "/ip4/1.2.3.4/tcp/5"]
