"""What happens to a signed release: listed, announced, and kept by those who kept the one before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from marina.cid import cid_of
from node.publishing import announce
from node.replication import Replication
from storage.publish.models import Published

FIRST, SECOND = cid_of(b"first"), cid_of(b"second")


class Node:
    """A node's services as far as announcing needs them, and what was done."""

    def __init__(self) -> None:
        self.library = self.discovery = self.replication = self.ipfs = self
        self.done: list[tuple[object, ...]] = []

    async def add(self, fetched, *, is_mine: bool, is_local: bool) -> None:
        await trio.lowlevel.checkpoint()
        self.done.append(("listed", fetched.signed.cid, is_mine and is_local))

    async def released(self, signed, roots, retired) -> None:
        self.done.append(("announced", signed.cid))

    async def published(self, release_id, cid) -> None:
        self.done.append(("pinned", cid))

    async def follow(self, previous, target) -> None:
        self.done.append(("followed", previous, target.signed.cid))


def published(*, previous=None, withdrawn: bool = False) -> Published:
    release = SimpleNamespace(previous=previous, withdrawn=withdrawn, release_id=bytes(32))
    return Published(SimpleNamespace(cid=SECOND, release=release), ())


@pytest.mark.parametrize(
    ("made", "is_followed"),
    [
        (published(), False),
        (published(previous=FIRST), True),
        (published(previous=FIRST, withdrawn=True), False),
    ],
)
async def test_a_new_version_goes_to_those_who_kept_the_one_before(made: Published, is_followed: bool):
    node = Node()
    await announce(node, made)
    followed = [("followed", FIRST, SECOND)] if is_followed else []
    pinned = ("pinned", None if made.signed.release.withdrawn else SECOND)
    assert node.done == [("listed", SECOND, True), ("announced", SECOND), pinned, *followed]


class Campaigns(Replication):
    """The artist's side, with one campaign in memory."""

    def __init__(self, wanted: dict[bytes, int]) -> None:
        self.wanted = wanted
        self._replicator = self

    def status(self, release):
        found = self.wanted.get(release)
        return None if found is None else SimpleNamespace(wanted=found)

    async def want(self, target, count: int) -> None:
        await trio.lowlevel.checkpoint()
        self.wanted[target.signed.cid] = count

    async def end(self, release) -> None:
        await trio.lowlevel.checkpoint()
        del self.wanted[release]


async def test_as_many_replicas_are_wanted_of_the_new_version():
    target = SimpleNamespace(signed=SimpleNamespace(cid=SECOND))
    campaigns = Campaigns({FIRST: 3})
    await campaigns.follow(FIRST, target)
    assert campaigns.wanted == {SECOND: 3}
    await campaigns.follow(FIRST, target)
    assert campaigns.wanted == {SECOND: 3}, "again changes nothing"
    none = Campaigns({})
    await none.follow(FIRST, target)
    assert none.wanted == {}
