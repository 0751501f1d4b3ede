"""Which of the owner's releases the paired Kubo node is to keep, and which it keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Annotated

from marina.cid import Cid
from marina.ids import ReleaseId
from marina.schema import U64, Bytes36, Size, decode_record, encode_record, record
from storage.kv import Table

PROBLEM_BYTES_MAX = 1000
_PAGE = 256


@record("marina/node/ipfs-pin/1")
@dataclass(frozen=True, slots=True)
class IpfsPin:
    """One release.

    Attributes:
        wanted: the version that is to be kept; None once it is withdrawn.
        kept: the version that is pinned there.
        is_announced: the node said that it told its network.
        problem: why the last try failed, for people; empty after a good one.
        tried_s: Unix seconds of the last try.
    """

    wanted: Bytes36 | None
    kept: Bytes36 | None = None
    is_announced: bool = False
    problem: Annotated[str, Size(0, PROBLEM_BYTES_MAX)] = ""
    tried_s: U64 = 0

    @property
    def is_settled(self) -> bool:
        """Whether what is kept is what is wanted."""
        return self.wanted == self.kept


class PinList:
    """Rows by release, in the node's database."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def want(self, release: ReleaseId, cid: Cid | None) -> None:
        """Note which version of a release is to be kept from now on, None for none."""
        row = await self.get(release)
        await self.put(release, IpfsPin(cid) if row is None else replace(row, wanted=cid))

    async def get(self, release: ReleaseId) -> IpfsPin | None:
        """Return what is known of a release."""
        data = await self._table.get(release)
        return None if data is None else decode_record(IpfsPin, data)

    async def put(self, release: ReleaseId, row: IpfsPin) -> None:
        """Store a row; one that wants nothing and keeps nothing goes."""
        if row.wanted is None and row.kept is None:
            await self._table.delete(release)
        else:
            await self._table.put(release, encode_record(row))

    async def rows(self) -> AsyncGenerator[tuple[ReleaseId, IpfsPin], None]:
        """Yield every row, a bounded number at a time in memory."""
        after = b""
        while page := await self._table.scan(after=after, limit=_PAGE):
            for key, data in page:
                yield ReleaseId(key), decode_record(IpfsPin, data)
            after = page[-1][0]
