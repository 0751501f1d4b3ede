"""A vote from the delegation to the execution, from the command line, on a real development chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.chains import DevChain, dev_chain
from tests.support.daemons import Daemon, daemons

DAY_S = 86_400


@dataclass
class Stage:
    """A member that holds the key of the chain's treasurer, who has delegated to itself, and the chain."""

    chain: DevChain
    member: Daemon

    def act(self, *words: str, code: int = 0) -> Any:
        answer = self.member.try_run("dao", *words, "--account", "treasurer", "--yes")
        assert answer.code == code, answer
        return answer.data

    def pass_time(self, seconds: int) -> None:
        self.chain.rpc("evm_increaseTime", seconds)
        self.chain.rpc("evm_mine")

    def propose(self, *words: str) -> str:
        self.act("propose", *words)
        return str(self.member.run("dao", "list")["items"][0]["number"])

    def carry(self, number: str) -> None:
        self.pass_time(DAY_S + 1)
        self.act("vote", number, "for", "--reason", "it is time")
        self.pass_time(5 * DAY_S + 1)
        self.act("queue", number)
        self.pass_time(2 * DAY_S + 1)
        self.act("execute", number)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # The key is public: it belongs to every development chain.
    from chain.dev.genesis import TREASURER_KEY

    root = tmp_path_factory.mktemp("dao")
    with dev_chain(root) as chain, daemons(root, "member") as (member,):
        member.init(chain__profile="dev", chain__endpoints=chain.url)
        member.start()
        member.run("faucet")
        member.run("wallet", "import", "treasurer", "--key-fd", "0", secret=TREASURER_KEY.hex())
        made = Stage(chain, member)
        made.act("delegate", "self")
        made.pass_time(1)
        yield made


def test_a_change_goes_from_the_proposal_to_the_contract(stage: Stage, tmp_path: Path) -> None:
    text = tmp_path / "why.md"
    text.write_text("# Why\n\nBecause the pool is empty.\n")
    number = stage.propose("--title", "The DAO takes 5 %", "--set", "fee=5%", "--text", str(text))
    shown = stage.member.run("dao", "show", number, "--simulate")
    assert (shown["state"], shown["title"]) == ("pending", "The DAO takes 5 %")
    assert shown["text_cid"].startswith("b")
    assert [each["text"] for each in shown["calls"]] == ["Set the protocol fee to 5 % (now 2.5 %)"]
    assert shown["effect"]["would_fail"] is False
    assert [(each["before"], each["after"]) for each in shown["effect"]["changes"]] == [("2.5 %", "5 %")]

    early = stage.member.try_run("dao", "vote", number, "for", "--account", "treasurer", "--yes")
    assert (early.code, "begins in" in early.error) == (5, True), early
    stage.pass_time(DAY_S + 1)
    powerless = stage.member.try_run("dao", "vote", number, "against", "--yes")
    assert (powerless.code, "had no votes" in powerless.error) == (5, True), powerless
    stage.act("vote", number, "for", "--reason", "it is time")
    twice = stage.member.try_run("dao", "vote", number, "against", "--account", "treasurer", "--yes")
    assert (twice.code, "votes are final" in twice.error) == (5, True), twice
    stage.act("queue", number, code=5)

    stage.pass_time(5 * DAY_S + 1)
    stage.act("queue", number)
    held = stage.member.try_run("dao", "execute", number, "--account", "treasurer", "--yes")
    assert (held.code, "timelock" in held.error) == (5, True), held
    stage.pass_time(2 * DAY_S + 1)
    stage.act("execute", number)
    assert stage.member.run("chain", "call", "licensing", "feeBps")["result"] == "500"
    values = {each["key"]: each["value"] for each in stage.member.run("dao", "params")["parameters"]}
    assert values["fee"] == "5 %"
    assert stage.member.run("dao", "show", number)["state"] == "executed"


def test_the_treasury_pays_what_was_voted(stage: Stage) -> None:
    to = stage.member.run("wallet", "create", "pool")["address"]
    treasury = stage.member.run("dao", "treasury")["account"]
    above = stage.member.try_run(
        "chain", "send", "token", "transfer", treasury, str(501 * 10**18), "--account", "treasurer", "--yes"
    )
    assert (above.code, "spend.item" in above.error) == (5, True), "limits hold for calls typed by hand, too"
    stage.member.run(
        "chain", "send", "token", "transfer", treasury, str(500 * 10**18), "--account", "treasurer", "--yes"
    )
    held = {each["symbol"]: each["held"] for each in stage.member.run("dao", "treasury")["items"]}
    assert held["MMT"] == "500 MMT"
    number = stage.propose("--title", "A mastering pool", "--pay", f"400MMT={to}")
    (call,) = stage.member.run("dao", "show", number)["calls"]
    assert "400 MMT" in call["text"]
    assert call["understood"]
    stage.carry(number)
    items = stage.member.run("wallet", "balance", "pool")["items"]
    assert next(each["balance"] for each in items if each["symbol"] == "MMT") == "400 MMT"


def test_what_the_contracts_refuse_is_refused_before_it_costs(stage: Stage) -> None:
    for words, reason in (
        (("--set", "fee=11%"), "10 %"),
        (("--set", "fees=1%"), "fee"),
        (("--pay", "0MMT=0x0000000000000000000000000000000000000aaa"), "nothing"),
        ((), "call"),
    ):
        answer = stage.member.try_run(
            "dao", "propose", "--title", "No", *words, "--account", "treasurer", "--yes"
        )
        assert (answer.code, reason in answer.error) == (2, True), answer
    poor = stage.member.try_run("dao", "propose", "--title", "Mine", "--set", "fee=1%", "--yes")
    assert (poor.code, "1000 MMT" in poor.error) == (5, True), poor


def test_a_proposer_takes_a_proposal_back_before_the_vote(stage: Stage) -> None:
    number = stage.propose("--title", "Never mind", "--set", "quorum=5%")
    stranger = stage.member.try_run("dao", "cancel", number, "--yes")
    assert (stranger.code, "who proposed it" in stranger.error) == (5, True), stranger
    stage.act("cancel", number)
    assert stage.member.run("dao", "show", number)["state"] == "canceled"
    assert stage.member.try_run("dao", "show", "99999").code == 4


def test_a_call_that_cannot_be_put_into_words_is_shown_raw(stage: Stage) -> None:
    number = stage.propose("--title", "Something else", "--call", "TrackRegistry", "bumpBindingEpoch")
    text = stage.member.try_run("dao", "show", number, is_json=False).out
    assert "bumpBindingEpoch" in text
    assert "If it is carried:" in text
