"""A guardian from its bond to its way out, on a real development chain: whom it serves, and whom not."""

from __future__ import annotations

import pytest

from p2p.wire.key import Code, Grant, Refusal
from tests.support.chains import dev_chain
from tests.support.daemons import PASSPHRASE, Daemon, daemons, music
from tests.support.stranger import Stranger

DAY_S = 86_400


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    with dev_chain(tmp_path_factory.mktemp("guardian-chain")) as running:
        yield running


@pytest.fixture(scope="module")
def node(chain, tmp_path_factory):
    made = Daemon(tmp_path_factory.mktemp("guardian") / "home")
    made.init(chain__profile="dev", chain__endpoints=chain.url)
    made.start()
    yield made
    made.stop()


def status(node):
    with node.client() as client:
        return client.get("/api/v1/guardian").json()["data"]


def test_a_node_enlists_with_a_bond_and_is_seen(chain, node):
    from chain.dev.genesis import TREASURER_KEY  # the key of the development chain's treasurer is public

    account = node.run("id")["account"]
    assert status(node)["on"] is False
    poor = node.try_run("guardian", "enable", "--yes")
    assert (poor.code, "holds 0 MMT" in poor.error) == (6, True), poor
    node.run("wallet", "import", "treasurer", "--key-fd", "0", secret=TREASURER_KEY.hex())
    node.run("faucet")
    node.run("wallet", "send", account, "300MMT", "--account", "treasurer", "--yes")
    small = node.try_run("guardian", "enable", "--bond", "99MMT", "--yes")
    assert (small.code, "at least 100 MMT" in small.error) == (2, True), small
    dry = node.run("guardian", "enable", "--bond", "150MMT", "--dry-run")
    assert dry["quote"]["spend"] == ["150 MMT"]
    assert status(node)["on"] is False, "a dry run changes nothing"

    done = node.run("guardian", "enable", "--bond", "150MMT", "--yes")
    assert [each["status"] for each in done["transactions"]] == ["confirmed"] * 2
    said = node.run("guardian")
    assert (said["on"], said["registered"]["bond"], said["registered"]["this_node"]) == (
        True, "150 MMT", True,
    )  # fmt: skip
    (listed,) = node.run("guardian", "list")["items"]
    assert (listed["peer"], listed["account"]) == (node.run("id")["peer"], account)
    assert node.run("guardian", "id")["key"] == said["key"]
    text = node.try_run("guardian", is_json=False).out
    for words in ("answers key requests", "bond of 150 MMT", "released 0 times, to 0 devices"):
        assert words in text
    again = node.run("guardian", "enable", "--yes")
    assert again["transactions"] == [], "it is registered already"

    node.stop()
    node.start()
    assert status(node)["on"] is True, "also after a restart"


def code(found):
    assert isinstance(found, Refusal), found
    return found.code


def test_it_gives_its_share_to_who_has_a_licence_and_to_nobody_else(chain, node, tmp_path):
    folder = music(tmp_path / "music", "First Song")[0].parent
    with daemons(tmp_path, "artist") as (artist,):
        artist.init(chain__profile="dev", chain__endpoints=chain.url)
        artist.start()
        artist.run("faucet")
        artist.run("peers", "connect", node.address())
        done = artist.run(
            "publish", str(folder), "--price", "0.1DEV", "--period", "1d", "--guardians", "1",
            "--threshold", "1", "--yes",
        )  # fmt: skip
        track = done["tracks"][0]["id"]
        stranger = Stranger(artist, track)
        assert code(stranger.ask(node)) is Code.NO_LICENCE
        other = Stranger(artist, track, "another", stranger.keybox)
        artist.run("gift", done["release"], stranger.address, "--yes")
        assert isinstance(stranger.ask(node), Grant)
        assert code(other.ask(node, owner=stranger.account)) is Code.BINDING, "in the name of another"
        assert code(other.ask(node)) is Code.NO_LICENCE
        said = status(node)
        assert (said["released"], said["devices"], said["answers"]["granted"]) == (1, 1, 1)

        node.kill()
        node.start("--locked")
        assert code(stranger.ask(node)) is Code.CHAIN_UNAVAILABLE, "it cannot open its share now"
        node.run("key", "unlock", "--passphrase-fd", "0", secret=PASSPHRASE)
        assert isinstance(stranger.ask(node), Grant), "a restarted guardian has lost nothing"
        assert status(node)["released"] == 2, "and the log neither"
        chain.rpc("evm_increaseTime", DAY_S + 1)
        chain.rpc("evm_mine")
        assert code(stranger.ask(node)) is Code.NO_LICENCE, "the licence has ended"
    for word in (track, stranger.address, stranger.account.hex(), done["release"]):
        assert word not in node.log(), "who asks for what is nobody's business"


def test_it_leaves_and_gets_its_bond_back(chain, node):
    before = status(node)["registered"]["active_s"]
    chain.rpc("evm_increaseTime", DAY_S)
    node.run("guardian", "beat", "--yes")
    assert status(node)["registered"]["active_s"] >= before + DAY_S

    node.run("guardian", "unbond", "--yes")
    early = node.try_run("guardian", "withdraw", "--yes")
    assert (early.code, "locked" in early.error) == (2, True), early
    chain.rpc("evm_increaseTime", 14 * DAY_S + 1)
    chain.rpc("evm_mine")
    node.run("guardian", "withdraw", "--yes")
    assert status(node)["registered"] is None
    held = {each["symbol"]: each["balance"] for each in node.run("wallet", "balance", "main")["items"]}
    assert held["MMT"] == "300 MMT"
    assert node.run("guardian", "disable")["on"] is False
