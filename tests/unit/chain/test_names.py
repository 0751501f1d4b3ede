"""Names of the Ethereum Name Service: how they are written, whom is asked, and which answers count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ens.constants import ENS_MAINNET_ADDR
from ens.utils import normal_name_to_hash

from chain.errors import ChainUnavailableError, EndpointsDisagreeError, RpcError
from chain.gateway import Gateway
from chain.names import NAME_BYTES_MAX, normal_name, resolve_name
from chain.profiles import ENS, PROFILES
from marina.errors import MarinaError, NetworkError, NotFoundError, UsageError
from marina.ids import Account, account_text
from tests.support.wire import Refused, Wire, instead, pool_over

REGISTRY, RESOLVER, ALICE = (Account(bytes([each]) * 20) for each in (0xE5, 0xE6, 0xA1))
DEV = replace(PROFILES["dev"], ens_registry=REGISTRY)
NODE = "787192fc5378cc32aa956ddfdedbf26b24e8d78e40109add0eea2c1a012c3dec"
"""namehash of alice.eth, as every ENS tool has it."""
HEAD = 100


class Names:
    """An endpoint with one name.

    Attributes:
        said: what the resolver answers, or the refusal.
        calls: (contract, data, block) of each call.
    """

    def __init__(self, said=None, resolver=RESOLVER):
        self.said = word(ALICE) if said is None else said
        self.resolver = resolver
        self.calls = []

    def __call__(self, method, params):
        if method == "eth_blockNumber":
            return hex(HEAD)
        message, block = params
        self.calls.append((message["to"], message["data"], int(block, 16)))
        if message["to"] in (account_text(REGISTRY), account_text(ENS)):
            return word(self.resolver) if isinstance(self.resolver, bytes) else self.resolver
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def word(account):
    return "0x" + account.rjust(32, b"\0").hex()


def over(*answers, profile=DEV):
    wires = {
        f"http://127.0.0.{number}:8545": Wire(each, chain_id=profile.chain_id)
        for number, each in enumerate(answers, start=1)
    }
    return list(wires.values()), Gateway(pool_over(wires, profile=profile, tries_max=1))


async def test_a_name_is_the_account_that_its_resolver_says():
    names = Names()
    _, gateway = over(names)
    assert await resolve_name(gateway, "alice.eth") == ALICE
    assert names.calls == [
        (account_text(REGISTRY), "0x0178b8bf" + NODE, HEAD),
        (account_text(RESOLVER), "0x3b3b57de" + NODE, HEAD),
    ]


async def test_a_settled_block_is_asked_about_and_two_operators_must_agree():
    ethereum = PROFILES["ethereum"]
    one, other = Names(), Names()
    _, gateway = over(one, other, profile=ethereum)
    assert await resolve_name(gateway, "alice.eth") == ALICE
    assert [each[2] for each in one.calls + other.calls] == [HEAD - ethereum.confirmations + 1] * 4
    _, gateway = over(Names(), Names(word(RESOLVER)), profile=ethereum)
    with pytest.raises(EndpointsDisagreeError):
        await resolve_name(gateway, "alice.eth")


async def test_only_ethereum_has_names_at_the_place_that_all_know():
    assert account_text(ENS) == ENS_MAINNET_ADDR
    assert {name for name, each in PROFILES.items() if each.ens_registry} == {"ethereum"}
    (wire,), gateway = over(Names(), profile=PROFILES["polygon"])
    with pytest.raises(UsageError, match=r"^polygon has no ENS names: give the whole address$"):
        await resolve_name(gateway, "alice.eth")
    assert wire.requests == []


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("alice.eth", "787192fc5378cc32aa956ddfdedbf26b24e8d78e40109add0eea2c1a012c3dec"),
        ("foo.eth", "de9b09fd7c5f901e23a3f19fecc54828e9c848539801e86591bd9801b019f84f"),  # EIP-137
        ("eth", "93cdeb708b7545dc668eb9280176169d1c33cfd8ed6f04690a0bcc88a93fc4ae"),  # EIP-137
    ],
)
def test_hashes_are_those_of_the_standard(name, normal):
    assert normal_name_to_hash(normal_name(name)).hex() == normal


@pytest.mark.parametrize(
    "name", ["a.b.c.eth", "0x1.eth", "_x.eth", "élan.eth", "日本.eth", "👨‍👩‍👧.eth", "a" * 64 + ".eth"]
)
def test_names_in_their_normal_form_are_taken_as_they_are(name):
    assert normal_name(name) == name


@pytest.mark.parametrize("name", ["Alice.eth", "al\u00adice.eth", "ⓐlice.eth", "ａlice.eth", "ALICE.ETH"])
def test_a_name_that_is_written_in_another_way_is_refused_with_the_one_that_counts(name):
    with pytest.raises(UsageError, match=r"if you mean 'alice\.eth', write that"):
        normal_name(name)


def test_accents_have_one_form():
    with pytest.raises(UsageError, match=r"'élan\.eth'"):
        normal_name("e\u0301lan.eth")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a..eth", ".eth", "eth.", " a.eth", "a b.eth", "a_b.eth", "ab--c.eth", "a.eth\n"),
        "\u0430lice.eth",  # a Cyrillic a among Latin letters
        "\u0441\u043e\u0441\u043e.eth",  # Cyrillic that looks like Latin
        "\u200dx.eth",
        "\u202ealice.eth",
        "\ufe0f.eth",
        "a\udc80.eth",
        "a\x00.eth",
        "\x1b[2Jalice.eth",
        "a" * NAME_BYTES_MAX + ".eth",
    ],
)
def test_what_is_no_name_or_looks_like_another_is_one_printable_sentence(name):
    with pytest.raises(UsageError) as caught:
        normal_name(name)
    assert str(caught.value).isprintable()
    assert "give the whole address" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (Names(resolver=bytes(20)), "nobody has set up the name alice.eth"),
        (Names(word(bytes(20))), "alice.eth stands for no account"),
        (Names("0x"), "gives no address"),
        (Names("0x" + "ff" * 32), "gives no address"),
        (Names("0x" + "00" * 31), "gives no address"),
        (Names(word(ALICE) + "00" * 32), "gives no address"),
        (Names("0x" + "00" * (4 << 20)), "gives no address"),
        (Names("rubbish"), "gives no address"),
        (Names(7), "gives no address"),
        (Names([word(ALICE)]), "gives no address"),
        (Names(Refused(3, "execution reverted", "0x")), "the resolver of alice.eth fails"),
        (Names(Refused(-32000, "out of gas")), "the resolver of alice.eth fails .*out of gas"),
        (Names(Refused(3, "execution reverted", "0x556f1830" + "00" * 64)), "kept off the chain"),
    ],
)
async def test_a_name_without_an_account_is_not_found(names, words):
    (wire,), gateway = over(names)
    with pytest.raises(NotFoundError, match=words):
        await resolve_name(gateway, "alice.eth")
    assert len(wire.asked) <= 3


@pytest.mark.parametrize("said", ["0x", "0x" + "ff" * 32, None, {}])
async def test_what_is_no_registry_is_the_endpoints_fault(said):
    _, gateway = over(Names(resolver=said))
    with pytest.raises(ChainUnavailableError, match="ENS registry of dev"):
        await resolve_name(gateway, "alice.eth")


async def test_a_server_that_a_contract_names_is_never_asked():
    """ERC-3668 asks the reader to fetch from there; web3 would."""
    from eth_abi import encode

    lookup = encode(
        ["address", "string[]", "bytes", "bytes4", "bytes"],
        [account_text(RESOLVER), ["http://127.0.0.1:9/{sender}/{data}"], b"", b"1234", b""],
    )
    (wire,), gateway = over(Names(Refused(3, "execution reverted", "0x556f1830" + lookup.hex())))
    with pytest.raises(NotFoundError, match="a server that Marina does not ask"):
        await resolve_name(gateway, "alice.eth")
    assert wire.asked == ["eth_blockNumber", "eth_call", "eth_call"]


async def test_an_endpoint_that_is_down_slow_or_silly_is_a_network_error(autojump_clock):
    (wire,), gateway = over(Names())
    wire.is_down = True
    with pytest.raises(NetworkError):
        await resolve_name(gateway, "alice.eth")
    (wire,), gateway = over(Names())
    wire.delay_s = 3.0
    with pytest.raises(NetworkError, match=r"did not say in 5 s whose name alice\.eth is"):
        await resolve_name(gateway, "alice.eth", timeout_s=5.0)
    (wire,), gateway = over(Names())
    wire.spoil = instead("<html>")
    with pytest.raises(MarinaError) as caught:
        await resolve_name(gateway, "alice.eth")
    assert isinstance(caught.value, (NetworkError, RpcError))
