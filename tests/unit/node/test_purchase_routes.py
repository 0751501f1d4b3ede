"""The owner's yes from the player page: the passphrase, for one quote, for licences alone, a few tries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from chain.draft import Draft
from marina.clock import ManualClock
from marina.errors import NotFoundError, NotPermittedError
from marina.ids import Account
from node.api.errors import RateLimitedError
from node.api.fields import Fields
from node.api.routes_purchase import TRIES, PurchaseRoutes
from node.chain.confirmations import Confirmations, Pending
from storage.errors import WrongPassphraseError

ME = Account(b"m" * 20)
RIGHT = "seven blue herons"


class Owner:
    """Knows the passphrase; counts how often it was asked."""

    def __init__(self):
        self.asked = 0

    def check_passphrase(self, passphrase):
        self.asked += 1
        if passphrase.reveal() != RIGHT:
            raise WrongPassphraseError("it is not the passphrase")


@pytest.fixture
def shop(monkeypatch):
    clock, owner, sent = ManualClock(), Owner(), []
    confirmations = Confirmations(clock=clock)
    chain = SimpleNamespace(confirmations=confirmations)

    async def submit(service, code, *, wait_s):
        await trio.lowlevel.checkpoint()
        sent.append([each.what for each in service.confirmations.take(code).drafts])
        return []

    monkeypatch.setattr("node.api.routes_purchase.submit", submit)
    routes = PurchaseRoutes(chain=chain, owner=owner, clock=clock)

    async def confirm(code, passphrase=RIGHT):
        body = Fields({"confirm": code, "passphrase": passphrase})
        return await routes.confirm(SimpleNamespace(body=body))

    def quoted(*whats):
        drafts = tuple(Draft(ME, b"", 0, what, "", what) for what in whats)
        return confirmations.offer(Pending(ME, drafts, None))

    return SimpleNamespace(clock=clock, owner=owner, sent=sent, confirm=confirm, quoted=quoted)


async def test_the_passphrase_pays_a_licence_once(shop):
    code = shop.quoted("token.approve", "licence.buy")
    await shop.confirm(code)
    assert shop.sent == [["token.approve", "licence.buy"]]
    with pytest.raises(NotFoundError):
        await shop.confirm(code)


async def test_a_wrong_passphrase_pays_nothing_and_the_quote_stays_good(shop):
    code = shop.quoted("licence.buy")
    with pytest.raises(WrongPassphraseError):
        await shop.confirm(code, "guessed")
    assert shop.sent == []
    await shop.confirm(code)
    assert shop.sent == [["licence.buy"]]


@pytest.mark.parametrize(
    "whats", [("wallet.send",), ("licence.buy", "wallet.send"), ("token.approve",), ("dao.vote",)]
)
async def test_nothing_but_licences_is_paid_here_whatever_the_passphrase(whats, shop):
    with pytest.raises(NotPermittedError, match="only a licence"):
        await shop.confirm(shop.quoted(*whats))
    assert (shop.sent, shop.owner.asked) == ([], 0)


async def test_passphrases_cannot_be_tried_out(shop):
    code = shop.quoted("licence.buy")
    for _ in range(TRIES):
        with pytest.raises(WrongPassphraseError):
            await shop.confirm(code, "guessed")
    with pytest.raises(RateLimitedError):
        await shop.confirm(code)
    assert shop.owner.asked == TRIES, "beyond that not even the vault is asked"
    shop.clock.advance(13)
    await shop.confirm(code)
    assert shop.sent == [["licence.buy"]]
