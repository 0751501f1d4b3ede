"""Registering: what is new, in as few transactions as the contract takes, and nobody else's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio
from eth_abi import decode

from chain.market.selling import BATCH_MAX, Selling, SplitPart, Thing
from marina.errors import NotPermittedError
from marina.ids import Account, derive_track_id

ARTIST, OTHER = Account(b"a" * 20), Account(b"o" * 20)
SPLITS = (SplitPart(ARTIST, 9_000), SplitPart(OTHER, 1_000))
ROWS = "(bytes32,bytes32,bytes32,uint16,(address,uint16)[])[]"


class Registered:
    """What the chain knows: ids with their owners."""

    def __init__(self, owners: dict[bytes, Account] | None = None) -> None:
        self.owners = owners or {}

    async def rights(self, thing: bytes) -> SimpleNamespace | None:
        await trio.lowlevel.checkpoint()
        owner = self.owners.get(thing)
        return None if owner is None else SimpleNamespace(owner=owner)


def things(count: int) -> list[Thing]:
    salts = [number.to_bytes(32) for number in range(count)]
    return [Thing(derive_track_id(ARTIST, salt), salt, b"d" * 32, None, f"Song {salt[-1]}") for salt in salts]


async def drafts_of(given: list[Thing], known: Registered):
    reader = SimpleNamespace(contracts=SimpleNamespace(registry=b"r" * 20))
    selling = Selling(reader=reader, currencies=None, offers=known)
    return await selling.register(given, SPLITS, royalty_bps=800, artist=ARTIST)


def salts_of(draft) -> list[int]:
    (rows,) = decode([ROWS], draft.data[4:])
    assert all(row[3:] == (800, (("0x" + "61" * 20, 9_000), ("0x" + "6f" * 20, 1_000))) for row in rows)
    return [int.from_bytes(row[0]) for row in rows]


async def test_what_is_registered_already_is_left_out():
    given = things(4)
    (draft,) = await drafts_of(given, Registered({given[1].id: ARTIST}))
    assert salts_of(draft) == [0, 2, 3]
    assert await drafts_of(given, Registered({each.id: ARTIST for each in given})) == ()


async def test_a_large_release_takes_several_transactions():
    drafts = await drafts_of(things(2 * BATCH_MAX + 1), Registered())
    assert [len(salts_of(each)) for each in drafts] == [BATCH_MAX, BATCH_MAX, 1]
    assert len({each.key for each in drafts}) == 3
    assert "Song 0” and 63 more" in drafts[0].summary


async def test_what_is_anothers_is_refused():
    given = things(2)
    with pytest.raises(NotPermittedError, match="belongs to 0x6f6F"):
        await drafts_of(given, Registered({given[1].id: OTHER}))
    foreign = Thing(b"f" * 32, b"s" * 32, b"d" * 32, None, "Foreign")
    with pytest.raises(NotPermittedError, match="belongs to another account"):
        await drafts_of([foreign], Registered())
