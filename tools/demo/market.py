"""Chapter 5: an album is sold, its makers are paid, and the DAO changes what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.demo.chain import DAY_S, DemoChain
from tools.demo.node import Node

PRICE_COINS = 2
COIN = 10**18
SPLIT_BPS = 1_000
FEE_BPS = 250
Check = Callable[[bool, str], None]


class Market:
    """The artist's and the listener's side of money, and a vote."""

    def __init__(self, *, chain: DemoChain, artist: Node, listener: Node, release: str, check: Check) -> None:
        self._chain = chain
        self._artist = artist
        self._listener = listener
        self._release = release
        self._check = check

    def sell(self) -> None:
        """Register the album 90/10, sell it once, and pay both to the wei."""
        artist, listener = self._artist, self._listener
        artist.run("wallet", "create", "mixer")
        for account in ("main", "mixer"):
            artist.run("faucet", "--account", account)
        done = artist.run(
            "release", "register", self._release,
            "--price", f"{PRICE_COINS}DEV", "--split", "mixer=10%", "--royalty", "8", "--yes",
        )  # fmt: skip
        self._check(_all_settled(done), "the album is registered: 2 DEV, shared 90/10")
        listener.run("faucet")
        terms = listener.run("terms", self._release)
        self._check(
            [each["price"] for each in terms["items"]] == ["2 DEV"] and len(terms["splits"]) == 2,
            "the listener sees the price and who is paid",
        )
        done = listener.run("buy", self._release, "--yes")
        (licence,) = listener.run("licence")["items"]
        self._check(
            _all_settled(done) and licence["live"],
            f"the listener bought it: licence {licence['licence'][:14]}… for {done['quote']['spend'][0]}",
        )
        self._check_share("main", 10_000 - SPLIT_BPS)
        self._check_share("mixer", SPLIT_BPS)

    def _check_share(self, account: str, bps: int) -> None:
        """Withdraw, and compare what arrived with the share, fees apart, to the wei."""
        before = self._units(account)
        done = self._artist.run("withdraw", "--account", account, "--yes")
        fees = sum(self._fee(each["hash"]) for each in done["transactions"])
        got = self._units(account) - before + fees
        net = PRICE_COINS * COIN * (10_000 - FEE_BPS) // 10_000
        self._check(
            got == net * bps // 10_000, f"{account} withdrew exactly {bps / 100:g} %: {got / COIN:g} DEV"
        )

    def _units(self, account: str) -> int:
        items = self._artist.run("wallet", "balance", account)["items"]
        return next(int(each["units"]) for each in items if each["token"] is None)

    def _fee(self, transaction: str) -> int:
        receipt = self._chain.rpc("eth_getTransactionReceipt", transaction)
        return int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)

    def vote(self) -> None:
        """Let the DAO take 5 % instead of 2.5 %."""
        member = self._artist
        # The key of the development chain's treasurer is public: it holds the MMT of the beginning.
        from chain.dev.genesis import TREASURER_KEY

        member.run("wallet", "import", "treasurer", "--key-fd", "0", secret=TREASURER_KEY.hex())
        spend = ("--account", "treasurer", "--yes")
        member.run("dao", "delegate", "self", *spend)
        self._chain.pass_time(1)
        member.run("dao", "propose", "--title", "The DAO takes 5 %", "--set", "fee=5%", *spend)
        (proposal, *_) = member.run("dao", "list")["items"]
        number = str(proposal["number"])
        shown: dict[str, Any] = member.run("dao", "show", number)
        self._check("5 %" in str(shown["calls"]), f"proposal {number} is shown in words: {_words(shown)}")
        self._chain.pass_time(DAY_S + 1)
        member.run("dao", "vote", number, "for", *spend)
        self._chain.pass_time(5 * DAY_S + 1)
        member.run("dao", "queue", number, *spend)
        early = member.attempt("dao", "execute", number, *spend)
        self._check(early != 0, "it cannot be executed before its two days in the timelock")
        self._chain.pass_time(2 * DAY_S + 1)
        member.run("dao", "execute", number, *spend)
        fee = member.run("chain", "call", "licensing", "feeBps")["result"]
        self._check(fee == "500", "after the timelock the protocol fee is 5 %")


def _all_settled(done: dict[str, Any]) -> bool:
    return all(each["status"] in ("mined", "confirmed") for each in done["transactions"])


def _words(shown: dict[str, Any]) -> str:
    first = shown["calls"][0]
    return first if isinstance(first, str) else str(first.get("text", first))
