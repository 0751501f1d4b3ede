"""Music for money on a real development chain: sold, bought, shared, paid back; and when things fail."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.chains import DevChain, dev_chain
from tests.support.daemons import PASSPHRASE, Daemon, daemons, environment, music

COIN = 10**18
STRANGER = "0x0000000000000000000000000000000000000aaa"
KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
KEY_ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"


@dataclass
class Stage:
    """An artist who registered an album for 2 DEV with a 90/10 split, and a listener with 20 DEV."""

    chain: DevChain
    artist: Daemon
    listener: Daemon
    release: str
    tracks: list[dict[str, Any]]

    def units(self, node: Daemon, account: str = "main") -> int:
        items = node.run("wallet", "balance", account)["items"]
        return next(int(each["units"]) for each in items if each["token"] is None)

    def fees(self, done: dict[str, Any]) -> int:
        receipts = [
            self.chain.rpc("eth_getTransactionReceipt", each["hash"]) for each in done["transactions"]
        ]
        return sum(int(each["gasUsed"], 16) * int(each["effectiveGasPrice"], 16) for each in receipts)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("market")
    with dev_chain(root) as chain, daemons(root, "artist", "listener") as (artist, listener):
        for node in (artist, listener):
            node.init(chain__profile="dev", chain__endpoints=chain.url)
            node.start()
        songs = music(root / "music", "First Song", "Second Song")
        done = artist.run("publish", str(songs[0].parent), "--title", "An Album")
        artist.run("wallet", "create", "mixer")
        artist.run("faucet", "20DEV")
        listener.run("faucet", "20DEV")
        listener.run("show", artist.run("share", done["release"])["link"])
        registered = artist.run(
            "release", "register", done["release"], "--price", "2DEV", "--track-price", "0.5DEV",
            "--split", "mixer=10%", "--royalty", "8", "--yes",
        )  # fmt: skip
        assert [each["status"] for each in registered["transactions"]] == ["confirmed"] * 4
        yield Stage(chain, artist, listener, done["release"], done["tracks"])


def test_an_album_is_bought_once_and_both_makers_get_their_part_to_the_wei(stage: Stage) -> None:
    terms = stage.listener.run("terms", stage.release)
    assert [(each["price"], each["kind"], each["span"]) for each in terms["items"]] == [
        ("2 DEV", "stream", "for ever")
    ]
    assert sorted(each["percent"] for each in terms["splits"]) == [10, 90]
    before = stage.units(stage.listener)
    bought = stage.listener.run("buy", stage.release, "--yes")
    assert before - stage.units(stage.listener) == 2 * COIN + stage.fees(bought)
    (licence,) = stage.listener.run("licence")["items"]
    assert (licence["live"], licence["expires_s"], licence["paid"]) == (True, None, "2 DEV")
    assert stage.listener.run("terms", stage.release)["yours_until_s"]["stream"] == "forever"

    again = stage.listener.try_run("buy", stage.release, "--yes")
    assert (again.code, "no end already" in again.error) == (5, True), again
    track = stage.tracks[0]["id"]
    held = stage.listener.run("terms", track)
    assert held["yours_until_s"]["stream"] == "forever", "a licence to the release opens its tracks"

    stage.artist.run("faucet", "--account", "mixer", "1DEV")
    for account, part in (("main", 1.755), ("mixer", 0.195)):
        before = stage.units(stage.artist, account)
        done = stage.artist.run("withdraw", "--account", account, "--yes")
        assert (
            stage.units(stage.artist, account) - before + stage.fees(done)
            == round(part * 1000) * COIN // 1000
        )
        assert stage.artist.try_run("withdraw", "--account", account, "--yes").code == 4, "all of it was paid"


def test_what_was_not_confirmed_is_not_sent(stage: Stage) -> None:
    track = stage.tracks[1]["id"]
    count = len(stage.listener.run("tx")["items"])
    needless = stage.listener.try_run("buy", track, "--yes")
    assert (needless.code, "already opens it" in needless.error) == (5, True), "the release is theirs"
    dry = stage.listener.run("buy", track, "--term", "0", "--dry-run")
    assert (dry["dry_run"], dry["quote"]["spend"]) == (True, ["0.5 DEV"])
    assert "confirm" not in dry["quote"]
    no = stage.listener.try_run("buy", track, "--term", "0", is_json=False)
    assert (no.code, "nothing was sent" in no.err) == (5, True), no
    slip = stage.listener.try_run("wallet", "send", STRANGER.replace("aaa", "aaA"), "1DEV", "--yes")
    assert (slip.code, "slip" in slip.error) == (2, True), slip
    dear = stage.listener.try_run("wallet", "send", STRANGER, "21DEV", "--yes")
    assert (dear.code, "spend.item" in dear.error) == (5, True), dear
    poor = stage.artist.try_run("buy", track, "--account", "mixer", "--yes", "--max-fee", "0.000000001DEV")
    assert (poor.code, "--max-fee" in poor.error) == (5, True), poor
    stage.artist.run("wallet", "create", "empty")
    empty = stage.artist.try_run("buy", track, "--account", "empty", "--yes")
    assert (empty.code, "holds 0 DEV" in empty.error) == (6, True), empty
    assert len(stage.listener.run("tx")["items"]) == count


def test_a_term_is_renewed_given_and_paid_back(stage: Stage) -> None:
    track = stage.tracks[0]["id"]
    stage.artist.run("release", "price", track, "--price", "0.1DEV", "--period", "30d", "--yes")
    offers = stage.listener.run("terms", track)["items"]
    assert [(each["term"], each["span"]) for each in offers] == [(0, "for ever"), (1, "30 days")]
    first = stage.listener.try_run("renew", track, "--term", "1", "--yes")
    assert (first.code, "marina buy" in first.error) == (4, True), first
    stage.listener.run("buy", track, "--term", "1", "--yes")
    twice = stage.listener.try_run("buy", track, "--term", "1", "--yes")
    assert (twice.code, "marina renew" in twice.error) == (2, True), twice
    stage.listener.run("renew", track, "--term", "1", "--periods", "2", "--yes")
    mine = [each for each in stage.listener.run("licence")["items"] if each["id"] == track]
    assert [(each["paid"], each["expires_s"] - each["started_s"]) for each in mine] == [
        ("0.3 DEV", 90 * 86_400)
    ]

    stage.listener.run("gift", track, STRANGER, "--term", "1", "--yes")
    sold = stage.artist.run("licence", "sold", track)["items"]
    holders = {each["licensee"].lower() for each in sold}
    assert holders == {STRANGER, stage.listener.run("id")["account"].lower()}

    stranger = stage.listener.try_run("licence", "refund", mine[0]["licence"], "--yes")
    assert stranger.code != 0, "only who sold it may"
    before = stage.units(stage.listener)
    stage.artist.run("licence", "refund", mine[0]["licence"], "--yes")
    (ended,) = [each for each in stage.listener.run("licence")["items"] if each["id"] == track]
    assert (ended["refunded"], ended["live"]) == (True, False)
    done = stage.listener.run("withdraw", "--yes")
    got = stage.units(stage.listener) - before + stage.fees(done)
    assert 0.2999 * COIN < got <= 0.3 * COIN, "all but the seconds that passed"

    stage.artist.run("release", "price", track, "--disable", "1", "--yes")
    gone = stage.listener.try_run("buy", track, "--term", "1", "--yes")
    assert (gone.code, "marina terms" in gone.error) == (2, True), gone


def test_tips_and_editions(stage: Stage) -> None:
    before = {each["id"]: each for each in stage.artist.run("earnings")["items"]}
    stage.listener.run("tip", stage.release, "0.2DEV", "--yes")
    earned = {each["id"]: each for each in stage.artist.run("earnings")["items"]}[stage.release]
    assert earned["waiting"] == "0.18 DEV", (before, earned)

    stage.artist.run("edition", "create", stage.release, "--count", "3", "--price", "0.1DEV", "--yes")
    stage.listener.run("edition", "buy", "1", "--count", "2", "--yes")
    (held,) = stage.listener.run("edition")["items"]
    assert (held["held"], held["left"], held["royalty_percent"]) == (2, 1, 8)
    over = stage.listener.try_run("edition", "buy", "1", "--count", "2", "--yes")
    assert (over.code, "1 of 3 are left" in over.error) == (2, True), over
    stage.artist.run("edition", "mint", "1", STRANGER, "--yes")
    assert stage.listener.run("edition", "show", "1")["left"] == 0
    stranger = stage.listener.try_run(
        "edition", "create", stage.release, "--count", "3", "--price", "1DEV", "--yes"
    )
    assert (stranger.code, "belongs to" in stranger.error) == (5, True), stranger


def test_transactions_are_listed_shown_and_not_taken_back_once_mined(stage: Stage) -> None:
    done = stage.listener.run("wallet", "send", STRANGER, "0.25DEV", "--yes")["transactions"][0]
    listed = stage.listener.run("tx", "list", "--what", "wallet")["items"]
    assert listed[0]["id"] == done["id"]
    shown = stage.listener.run("tx", "show", done["hash"][:14])
    assert (shown["status"], shown["spend"], shown["reason"]) == ("confirmed", ["0.25 DEV"], None)
    rows = stage.listener.try_run("tx", "--csv", is_json=False).out.splitlines()
    assert rows[0].startswith("id,hash,status,confirmations")
    assert any(row.startswith(done["id"]) for row in rows)
    late = stage.listener.try_run("tx", "cancel", done["id"])
    assert (late.code, "mined" in late.error) == (2, True), late
    assert stage.listener.try_run("tx", "show", "ffffffffffff").code == 4


def test_contracts_answer_any_call_and_compare(stage: Stage, tmp_path: Path) -> None:
    assert stage.artist.run("chain", "verify")["chain"] == "dev"
    assert stage.artist.run("chain", "call", "licensing", "feeBps")["result"] == "250"
    state = stage.artist.run("chain", "state", "MarinaToken")["state"]
    assert (state["symbol"], state["decimals"]) == ("MMT", "18")
    rights = stage.artist.run("chain", "call", "registry", "record", stage.release)["result"]
    assert (rights["active"], rights["royaltyBps"]) == (True, "800")
    missing = stage.artist.try_run("chain", "call", "licensing", "feeBp")
    assert (missing.code, "feeBps" in missing.error) == (2, True), missing
    refused = stage.artist.try_run("chain", "send", "licensing", "setFee", "500", "--simulate")
    assert (refused.code, "only the owner" in refused.error) == (1, True), refused
    sent = stage.artist.run("chain", "send", "registry", "bumpBindingEpoch", "--yes")
    assert sent["transactions"][0]["status"] == "confirmed"
    view = {"type": "function", "name": "symbol", "inputs": [], "stateMutability": "view"}
    abi = tmp_path / "abi.json"
    abi.write_text(json.dumps([{**view, "outputs": [{"type": "string", "name": ""}]}]))
    token = stage.chain.contracts["MarinaToken"]
    assert stage.artist.run("chain", "call", token, "symbol", "--abi", str(abi))["result"] == "MMT"


def test_accounts_of_other_wallets_come_and_go(stage: Stage, tmp_path: Path) -> None:
    node = stage.listener
    found = node.run("wallet", "import", "brought", "--key-fd", "0", secret=KEY)
    assert found["address"] == KEY_ADDRESS
    file = tmp_path / "brought.json"
    first, second = os.pipe(), os.pipe()
    for (_, write), text in ((first, PASSPHRASE), (second, "another long passphrase")):
        os.write(write, f"{text}\n".encode())
        os.close(write)
    done = subprocess.run(
        [*node.command("wallet", "export", "brought", str(file)),
         "--passphrase-fd", str(first[0]), "--export-passphrase-fd", str(second[0])],
        pass_fds=(first[0], second[0]), capture_output=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done
    assert file.stat().st_mode & 0o777 == 0o600
    assert KEY not in file.read_text()
    node.run("wallet", "forget", "brought", "--yes")
    assert node.try_run("wallet", "balance", "brought").code == 4
    wrong = node.try_run(
        "wallet", "import", "again", str(file), "--passphrase-fd", "0", secret="not the passphrase"
    )
    assert wrong.code == 5, wrong
    back = node.run(
        "wallet", "import", "again", str(file), "--passphrase-fd", "0", secret="another long passphrase"
    )
    assert back["address"] == KEY_ADDRESS
    node.run("wallet", "default", "again")
    assert node.run("wallet", "address")["address"] == KEY_ADDRESS
    node.run("wallet", "default", "main")
    node.run("wallet", "forget", "again", "--yes")


def test_own_contracts_are_deployed_compared_and_used(stage: Stage) -> None:
    done = stage.artist.run("chain", "deploy", "--yes")
    assert set(done["contracts"]) == set(stage.chain.contracts)
    assert done["contracts"] != stage.chain.contracts
    stage.artist.stop()
    stage.artist.start()
    assert stage.artist.run("chain", "status")["contracts"] == done["contracts"]
    assert stage.artist.run("chain", "verify")["contracts"] == done["contracts"]
    Path(done["file"]).unlink()
    stage.artist.stop()
    stage.artist.start()
    assert stage.artist.run("chain", "status")["contracts"] == stage.chain.contracts


def test_a_chain_that_is_gone_stops_nothing_but_payments(stage: Stage, tmp_path: Path) -> None:
    track = stage.tracks[1]["id"]
    count = len(stage.listener.run("tx")["items"])
    stage.chain.kill()
    try:
        gone = stage.listener.try_run("buy", track, "--term", "0", "--yes", timeout_s=120)
        assert (gone.code, "does not answer" in gone.error) == (7, True), gone
        assert stage.artist.run("play", track, "--url")["url"].startswith("http")
        assert stage.listener.run("find", "Second")["items"]
        songs = music(tmp_path / "more", "Made Without A Chain")
        assert stage.artist.run("publish", str(songs[0]), "--title", "Offline")["tracks"]
        with stage.listener.client() as client:
            health = client.get("/health").json()["data"]["components"]["chain"]
        assert health["status"] == "degraded", health
    finally:
        stage.chain.start()
    bought = stage.listener.run("buy", track, "--term", "0", "--yes")
    assert bought["transactions"][0]["status"] == "confirmed"
    assert len(stage.listener.run("tx")["items"]) == count + 1, "nothing of the failed one was kept"


def test_a_node_that_dies_right_after_the_yes_has_paid_once(stage: Stage) -> None:
    node = stage.listener
    with node.client() as client:
        quote = client.post("/api/v1/wallet/send", json={"to": STRANGER, "amount": "0.125DEV"}).json()["data"]
        before = int(stage.chain.rpc("eth_getBalance", STRANGER, "latest"), 16)
        sent = client.post("/api/v1/wallet/confirm", json={"confirm": quote["confirm"]}).json()
        again = client.post("/api/v1/wallet/confirm", json={"confirm": quote["confirm"]})
    assert sent["success"], sent
    assert again.status_code == 404, "a code is good once"
    node.kill()
    node.start()
    ends_s = time.monotonic() + 30
    found = node.run("tx", "show", sent["data"]["items"][0]["id"])
    while found["status"] != "confirmed":
        assert time.monotonic() < ends_s, found
        time.sleep(0.3)
        found = node.run("tx", "show", found["id"])
    assert int(stage.chain.rpc("eth_getBalance", STRANGER, "latest"), 16) - before == COIN // 8


def test_a_token_that_may_do_everything_else_cannot_sign(stage: Stage) -> None:
    scopes = ["read_music", "write_music", "admin"]
    made = stage.listener.run("token", "create", *(word for scope in scopes for word in ("--scope", scope)))
    with stage.listener.client(made["token"]) as client:
        quote = client.post("/api/v1/wallet/send", json={"to": STRANGER, "amount": "0.1DEV"}).json()["data"]
        refused = client.post("/api/v1/wallet/confirm", json={"confirm": quote["confirm"]})
    assert refused.status_code == 403
    assert "wallet_sign" in refused.text
