"""A guardian's check says what the contracts say at the named block, and never takes a lie for an answer."""

from __future__ import annotations

from random import Random

import pytest

from chain.errors import EndpointsDisagreeError, RpcError
from chain.licence_check import licence_facts
from chain.profiles import PROFILES
from chain.rpc import RpcPool
from marina.clock import SystemClock
from marina.errors import NetworkError
from marina.ids import TrackId
from tests.support.anvil import anvil

SALT = b"\x05" * 32
FOREVER_S = 2**64 - 1


@pytest.fixture(scope="module")
def node():
    with anvil() as running:
        yield running


@pytest.fixture
async def rpc(node):
    made = RpcPool(endpoints=[node.url], profile=PROFILES["dev"], clock=SystemClock(), rng=Random(1))
    yield made
    await made.aclose()


class Scripted:
    """A pool whose answers are given; ``quorum`` of two asks each call on its own."""

    def __init__(self, answers, quorum=1):
        self.answers = answers
        self.profile = PROFILES["dev" if quorum == 1 else "polygon"]
        self.asked = []

    async def batch(self, calls):
        self.asked += calls
        return self.answers

    async def agreed(self, method, params):
        self.asked.append((method, params))
        answer = self.answers[len(self.asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_facts_are_those_of_the_contracts_at_the_block(node, rpc):
    artist, listener, stranger = node.accounts[1:4]
    track = TrackId(node.read("TrackRegistry", "idOf", bytes(artist), SALT)[0])

    async def facts(who, tier=1, block=None):
        return await licence_facts(
            rpc,
            node.contracts,
            track_id=track,
            account=who,
            tier=tier,
            block=node.head if block is None else block,
        )

    assert node.invoke(
        artist, "TrackRegistry", "register", (SALT, SALT, bytes(32), 0, [(bytes(artist), 10_000)])
    )
    before = node.head
    none = await facts(listener)
    assert (none.licence_id, none.from_s, none.to_s, none.keybox_digest, none.keybox_epoch) == (
        None,
        0,
        0,
        None,
        0,
    )
    assert not none.is_open(2**40)
    assert node.invoke(artist, "TrackRegistry", "anchorKeybox", track, 1, b"\x09" * 32, 3, 2)
    assert node.invoke(artist, "MusicLicensing", "addTerm", track, 5, 3600, 0, 1)
    assert node.invoke(listener, "MusicLicensing", "purchase", track, 0, 1, bytes(listener), 5, value=5)
    found = await facts(listener)
    (known,) = node.read("MusicLicensing", "licenceIdOf", track, 0, bytes(listener))
    assert (found.licence_id, found.to_s - found.from_s) == (known, 3600)
    assert (found.keybox_digest, found.keybox_epoch, found.finality) == (b"\x09" * 32, 3, 2)
    assert found.is_open(found.from_s)
    assert not found.is_open(found.to_s)
    assert (await facts(listener, tier=2)).licence_id is None
    assert (await facts(stranger)).licence_id is None
    assert (await facts(listener, block=before)).licence_id is None
    with pytest.raises(RpcError):
        await facts(listener, block=node.head + 1000)


@pytest.mark.parametrize("quorum", [1, 2])
@pytest.mark.parametrize(
    "answers",
    [
        ["0x", "0x"],
        [None, "0x" + "00" * 96],
        ["0x" + "00" * 96, "0x" + "00" * 95],
        ["0x" + "00" * 32 + "ff" * 64, "0x" + "00" * 96],
        ["0x" + "00" * 96, "0x" + "00" * 64 + "00" * 31 + "03"],
        ["no such thing", 5],
    ],
)
async def test_an_answer_that_is_none_is_no_licence(node, answers, quorum):
    with pytest.raises(NetworkError):
        await licence_facts(
            Scripted(answers, quorum),
            node.contracts,
            track_id=TrackId(SALT),
            account=node.accounts[0],
            tier=1,
            block=1,
        )


@pytest.mark.parametrize(
    ("quorum", "error"), [(1, RpcError(-32000, "no")), (2, EndpointsDisagreeError("two things"))]
)
async def test_a_refusal_or_a_disagreement_is_no_licence(node, quorum, error):
    pool = Scripted(["0x" + "11" * 96, error], quorum)
    with pytest.raises(type(error)):
        await licence_facts(
            pool, node.contracts, track_id=TrackId(SALT), account=node.accounts[0], tier=1, block=1
        )
    assert {call[1][1] for call in pool.asked} == {"0x1"}, "each call names the block"
