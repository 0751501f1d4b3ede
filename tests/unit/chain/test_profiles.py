from __future__ import annotations

import pytest

from chain.profiles import PROFILES, check_endpoint, masked
from marina.errors import UsageError


def test_each_profile_pins_its_chain():
    assert {name: each.chain_id for name, each in PROFILES.items()} == {
        "dev": 31337,
        "ethereum": 1,
        "polygon": 137,
        "polygon-amoy": 80002,
    }


def test_every_chain_but_the_development_one_asks_two_endpoints_where_keys_are_released():
    assert {each.quorum for each in PROFILES.values() if each.name != "dev"} == {2}
    assert PROFILES["dev"].quorum == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://rpc.example.org",
        "https://rpc.example.org:8443/v3/key?x=1",
        "http://127.0.0.1:8545",
        "http://localhost:8545/path",
        "http://[::1]:8545",
        "http://127.9.9.9",
        "wss://rpc.example.org/ws/key",
        "ws://127.0.0.1:8545",
        "ws://[::1]:8545",
    ],
)
def test_https_wss_and_loopback_may_be_used(url):
    assert check_endpoint(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://rpc.example.org",
        "http://192.168.1.4:8545",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://0.0.0.0:8545",
        "ws://rpc.example.org",
        "ws://10.0.0.1:8546",
        "WS://rpc.example.org",
    ],
)
def test_another_machine_without_encryption_is_refused(url):
    with pytest.raises(UsageError, match="without encryption"):
        check_endpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rpc.example.org",
        "ftp://rpc.example.org",
        "https://",
        "https://name:pass@rpc.example.org",
        "https://name@rpc.example.org",
        "https://rpc.example.org/#x",
        "https://[::1",
        "https://rpc.example.org:99999",
        "file:///etc/passwd",
        "wss://name:pass@rpc.example.org",
        " https://rpc.example.org",
        "https://rpc.example.org/a b",
        "https://rpc.exa\nmple.org",
        "https://rpc.example.org/\x00",
    ],
)
def test_what_is_no_endpoint_is_refused(url):
    with pytest.raises(UsageError, match="no address of a JSON-RPC endpoint"):
        check_endpoint(url)


def test_a_scheme_in_capitals_is_the_same_scheme():
    assert check_endpoint("HTTPS://rpc.example.org/Key") == "https://rpc.example.org/Key"
    assert check_endpoint("Ws://127.0.0.1:8545") == "ws://127.0.0.1:8545"


def test_a_refusal_never_shows_a_key():
    for url in (
        "http://rpc.example.org/v3/KEY",
        "https://user:KEY@rpc.example.org",
        "ftp://a.example/KEY?KEY",
    ):
        with pytest.raises(UsageError) as caught:
            check_endpoint(url)
        assert "KEY" not in str(caught.value)
        assert "KEY" not in masked(url)
