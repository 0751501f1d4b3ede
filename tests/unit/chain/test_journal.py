from __future__ import annotations

from dataclasses import replace

import pytest

from chain.amount import Amount, Currency
from chain.journal import (
    LIVE,
    REASON_BYTES_MAX,
    Journal,
    Spend,
    State,
    number_bytes,
    reason_text,
)
from marina.errors import MarinaError
from marina.ids import Account
from storage.errors import DiskFullError
from storage.kv import LevelKv, MemoryKv
from tests.support.journals import ME, OTHER, transaction


async def opened(store, chain_id=31337):
    journal = Journal(store)
    await journal.load(chain_id)
    return journal


async def test_what_was_written_is_there_after_a_restart(tmp_path):
    store = LevelKv(tmp_path / "kv")
    journal = await opened(store)
    live, ended = transaction(1), transaction(2, state=State.CONFIRMED)
    await journal.put(live, ended)
    await store.close()
    store = LevelKv(tmp_path / "kv")
    journal = await opened(store)
    assert journal.live() == [live]
    assert [await journal.get(each.id) for each in (live, ended)] == [live, ended]
    assert [row for _, row in await journal.page()] == [ended, live]
    assert await journal.get(bytes(16)) is None
    await store.close()


@pytest.mark.parametrize("state", list(State))
async def test_unfinished_ones_are_found_by_their_key_and_others_are_not(state):
    journal = await opened(MemoryKv())
    row = transaction(state=state)
    await journal.put(row)
    assert (journal.live_with("k1") == row) is (state in LIVE)
    await journal.put(replace(row, state=State.FAILED.value))
    assert journal.live_with("k1") is None
    assert (await journal.get(row.id)).state == State.FAILED


async def test_a_write_that_fails_changes_nothing_in_memory():
    store = MemoryKv()
    journal = await opened(store)
    row = transaction()
    await journal.put(row)

    async def full(batch):
        raise DiskFullError("the disk is full")

    store.write = full
    for changed in (replace(row, state=State.MINED.value), replace(row, state=State.FAILED.value)):
        with pytest.raises(DiskFullError):
            await journal.put(changed)
    with pytest.raises(DiskFullError):
        await journal.put(transaction(2))
    assert journal.live() == [row]
    assert await journal.get(row.id) == row


async def test_several_are_written_in_one_batch():
    store = MemoryKv()
    journal = await opened(store)
    batches = []
    write = store.write

    async def counted(batch):
        batches.append(batch)
        await write(batch)

    store.write = counted
    await journal.put(transaction(1), transaction(2, state=State.FAILED))
    assert len(batches) == 1


async def test_transactions_are_of_one_chain_and_pages_of_all():
    store = MemoryKv()
    journal = await opened(store)
    await journal.put(transaction(1))
    other = await opened(store, chain_id=1)
    assert other.live() == []
    assert await other.since(0) == []
    await other.put(transaction(2, chain_id=1))
    assert [row.id[-1] for _, row in await other.page()] == [2, 1]
    assert [row.id[-1] for row in (await opened(store)).live()] == [1]


async def test_live_ones_of_an_account_are_in_the_order_of_their_making():
    journal = await opened(MemoryKv())
    for number, created_s, account in ((3, 1, ME), (1, 2, OTHER), (2, 2, ME), (4, 0, ME)):
        await journal.put(transaction(number, created_s=created_s, account=account))
    assert [each.id[-1] for each in journal.live(ME)] == [4, 3, 2]
    assert [each.id[-1] for each in journal.live()] == [4, 3, 1, 2]


async def test_pages_go_back_in_time_without_gaps_or_repeats():
    journal = await opened(MemoryKv())
    for number in range(1, 601):
        await journal.put(transaction(number, created_s=number // 3, state=State.CONFIRMED))
    seen, before = [], b""
    while page := await journal.page(before=before, limit=37):
        seen += [int.from_bytes(row.id) for _, row in page]
        before = page[-1][0]
    assert seen == list(range(600, 0, -1))


async def test_what_is_since_a_time_includes_older_unfinished_ones():
    journal = await opened(MemoryKv())
    for number in range(1, 401):
        await journal.put(transaction(number, created_s=number, state=State.CONFIRMED))
    await journal.put(transaction(1000, created_s=5))
    found = {int.from_bytes(each.id) for each in await journal.since(100)}
    assert found == {*range(100, 401), 1000}


async def test_many_unfinished_ones_are_all_loaded():
    store = MemoryKv()
    journal = await opened(store)
    for number in range(1, 700):
        await journal.put(transaction(number))
    assert len((await opened(store)).live()) == 699


async def test_a_damaged_row_is_said():
    store = MemoryKv()
    journal = await opened(store)
    await journal.put(transaction())
    key = next(iter(key for key, _ in await store.scan(b"transactions\x00")))
    await store.write([(key, b"\x00garbage")])
    with pytest.raises(MarinaError):
        await opened(store)


@pytest.mark.parametrize("number", [0, 1, 255, 256, 2**64, 2**256 - 1])
def test_numbers_have_one_form(number):
    text = number_bytes(number)
    assert int.from_bytes(text) == number
    assert not text.startswith(b"\0")


def test_a_spend_keeps_its_token_and_amount():
    token = Account(b"\x55" * 20)
    assert Spend.of(Amount(7, Currency("USDC", 6, token))) == Spend(bytes(token), b"\x07")
    assert Spend.of(Amount(0, Currency("ETH", 18))).units == 0


def test_reasons_are_cut_between_letters():
    assert len(reason_text("ß" * 2000).encode()) <= REASON_BYTES_MAX
    assert set(reason_text("ß" * 2000)) == {"ß"}
