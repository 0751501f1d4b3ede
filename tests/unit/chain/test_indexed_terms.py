"""A purchase made from the index asks for what the chain said, and licences have the contract's names."""

from __future__ import annotations

import pytest
from eth_abi import encode
from eth_hash.auto import keccak

from chain.amount import Currency
from chain.index.licensing import LICENCES, TERMS, LicenceRow, TermRow
from chain.index.registry import REGISTRATIONS, RegistrationRow
from chain.index.rows import key, putting, units
from chain.index.store import BlockRef, IndexStore
from chain.market.indexed import IndexedTerms
from chain.market.offers import licence_id
from chain.tables import ChainTables
from marina.clock import ManualClock
from marina.errors import NotFoundError
from marina.ids import Account
from storage.kv import MemoryKv

THING, ADA, TOKEN = b"\x07" * 32, Account(b"\x01" * 20), b"\x05" * 20
COIN = Currency("DEV", 18)


@pytest.fixture
async def terms():
    store = IndexStore(MemoryKv(), name="chain")
    registered = RegistrationRow(
        THING, ADA, ADA, bytes(32), b"\x02" * 32, b"\x03" * 32, 0, 1, True, False, 5, 1_700_000_000
    )
    rows = [putting(key(REGISTRATIONS, THING), registered)]
    prices = [(10**18, bytes(20), True), (5, TOKEN, True), (7, bytes(20), False)]
    for number, (price, token, is_sold) in enumerate(prices):
        row = TermRow(THING, number, units(price), 86_400 * number, token, 1, is_sold, 5)
        rows.append(putting(key(TERMS, THING, number.to_bytes(2)), row))
    for term, is_revoked in ((0, False), (2, True)):
        name = licence_id(THING, term, ADA)
        row = LicenceRow(name, THING, term, ADA, 1, 2**64 - 1, bytes(20), units(1), is_revoked, 5)
        rows.append(putting(key(LICENCES, name), row))
    await store.append_old(bytes(32), BlockRef(5, b"\x09" * 32), rows)
    return IndexedTerms(tables=ChainTables(store), coin=COIN, clock=ManualClock(1_700_000_123))


def test_a_licence_is_named_as_the_contract_names_it():
    meant = keccak(encode(["bytes32", "uint16", "address"], [THING, 300, bytes(ADA)]))
    assert licence_id(THING, 300, ADA) == meant


async def test_what_the_index_knows_is_offered_in_the_coin_alone(terms):
    offers = await terms.of(THING)
    assert [(each.term, each.price.value, each.period_s, each.is_sold) for each in offers] == [
        (0, 10**18, 0, True),
        (2, 7, 172_800, False),
    ]
    rights = await terms.rights(THING)
    assert (rights.owner, rights.is_active, rights.is_blocked) == (ADA, True, False)
    assert await terms.time_s() == 1_700_000_123


async def test_what_the_index_does_not_know_is_not_offered(terms):
    assert await terms.rights(b"\x08" * 32) is None
    assert await terms.of(b"\x08" * 32) == ()
    with pytest.raises(NotFoundError):
        await terms.licence(licence_id(THING, 1, ADA))


async def test_a_licence_that_was_paid_back_is_none(terms):
    assert (await terms.licence(licence_id(THING, 0, ADA))).expires_s == 2**64 - 1
    with pytest.raises(NotFoundError):
        await terms.licence(licence_id(THING, 2, ADA))
