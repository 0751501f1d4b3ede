"""A guardian from its bond to its way out, through the command line, on a real development chain."""

from __future__ import annotations

import pytest

from tests.support.chains import dev_chain
from tests.support.daemons import Daemon

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


def test_a_node_enlists_with_a_bond_is_seen_and_gets_the_bond_back(chain, node):
    from chain.dev.genesis import TREASURER_KEY  # the key of the development chain's treasurer is public

    account = node.run("id")["account"]
    assert node.run("guardian")["on"] is False
    poor = node.try_run("guardian", "enable", "--yes")
    assert (poor.code, "holds 0 MMT" in poor.error) == (6, True), poor
    node.run("wallet", "import", "treasurer", "--key-fd", "0", secret=TREASURER_KEY.hex())
    node.run("faucet")
    node.run("wallet", "send", account, "300MMT", "--account", "treasurer", "--yes")
    small = node.try_run("guardian", "enable", "--bond", "99MMT", "--yes")
    assert (small.code, "at least 100 MMT" in small.error) == (2, True), small
    dry = node.run("guardian", "enable", "--bond", "150MMT", "--dry-run")
    assert dry["quote"]["spend"] == ["150 MMT"]
    assert node.run("guardian")["on"] is False, "a dry run changes nothing"

    done = node.run("guardian", "enable", "--bond", "150MMT", "--yes")
    assert [each["status"] for each in done["transactions"]] == ["confirmed"] * 2
    status = node.run("guardian")
    assert (status["on"], status["registered"]["bond"], status["registered"]["this_node"]) == (
        True, "150 MMT", True,
    )  # fmt: skip
    (listed,) = node.run("guardian", "list")["items"]
    assert (listed["peer"], listed["account"]) == (node.run("id")["peer"], account)
    assert node.run("guardian", "id")["key"] == status["key"]
    again = node.run("guardian", "enable", "--yes")
    assert again["transactions"] == [], "it is registered already"

    node.stop()
    node.start()
    assert node.run("guardian")["on"] is True, "also after a restart"
    before = node.run("guardian")["registered"]["active_s"]
    chain.rpc("evm_increaseTime", DAY_S)
    node.run("guardian", "beat", "--yes")
    assert node.run("guardian")["registered"]["active_s"] >= before + DAY_S

    node.run("guardian", "unbond", "--yes")
    early = node.try_run("guardian", "withdraw", "--yes")
    assert (early.code, "locked" in early.error) == (2, True), early
    chain.rpc("evm_increaseTime", 14 * DAY_S + 1)
    chain.rpc("evm_mine")
    node.run("guardian", "withdraw", "--yes")
    assert node.run("guardian")["registered"] is None
    held = {each["symbol"]: each["balance"] for each in node.run("wallet", "balance", "main")["items"]}
    assert held["MMT"] == "300 MMT"
    assert node.run("guardian", "disable")["on"] is False
