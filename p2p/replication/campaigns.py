"""Campaigns on disk: which releases an artist wants kept by others, and how far each operator is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.cid import Cid, check_cid
from marina.errors import MalformedError
from marina.ids import Account, PeerId
from marina.schema import (
    U32,
    U64,
    Bytes20,
    Bytes36,
    Range,
    Size,
    decode_record,
    encode_record,
    record,
)
from p2p.replication.planner import Planner, PlannerConfig, Replica, Stage
from storage.kv import Table

CAMPAIGNS_MAX = 4096
_STAGES = list(Stage)
_RECORD_BYTES_MAX = 64 * 1024


@record(None)
@dataclass(frozen=True, slots=True)
class _Row:
    """One replica; times are Unix seconds."""

    peer: Annotated[str, Size(1, 128)]
    account: Bytes20
    subnet: Annotated[str, Size(0, 64)]
    stage: Annotated[int, Range(0, len(_STAGES) - 1)]
    since: U64
    until: U64
    have_bytes: U64
    checked: U64
    reason: Annotated[str, Size(0, 800)]


@record("marina/campaign/1")
@dataclass(frozen=True, slots=True)
class _Stored:
    release: Bytes36
    wanted: U32
    size_bytes: U64
    duration_s: U64
    replicas: Annotated[tuple[_Row, ...], Size(0, 64)]


class CampaignBook:
    """The artist's campaigns, by release, in one table of the node's database."""

    def __init__(self, *, table: Table, own: Account, config: PlannerConfig | None = None) -> None:
        self._table = table
        self._own = own
        self._config = config or PlannerConfig()
        self._planners: dict[Cid, Planner] = {}

    async def load(self) -> None:
        """Read the table; what is not understood is removed."""
        for key, value in await self._table.scan(limit=2 * CAMPAIGNS_MAX):
            try:
                stored = decode_record(_Stored, value, limit_bytes=_RECORD_BYTES_MAX)
                self._planners[check_cid(stored.release)] = self._planner(stored)
            except (MalformedError, ValueError):
                await self._table.delete(key)

    def all(self) -> dict[Cid, Planner]:
        """Return every campaign."""
        return dict(self._planners)

    def get(self, release: Cid) -> Planner | None:
        """Return the campaign of a release."""
        return self._planners.get(release)

    async def start(self, release: Cid, *, wanted: int, size_bytes: int, duration_s: int) -> Planner:
        """Begin a campaign, or change what a running one wants; its replicas stay.

        Raises:
            ValueError: nothing is wanted, or there are 4096 campaigns.
        """
        known = self._planners.get(release)
        if known is None and len(self._planners) >= CAMPAIGNS_MAX:
            raise ValueError(f"a node runs at most {CAMPAIGNS_MAX} campaigns")
        planner = Planner(
            own=self._own,
            wanted=wanted,
            size_bytes=size_bytes,
            duration_s=duration_s,
            config=self._config,
            replicas=known.replicas() if known is not None else (),
        )
        self._planners[release] = planner
        await self.save(release)
        return planner

    async def save(self, release: Cid) -> None:
        """Write a campaign's state down, durably."""
        planner = self._planners[release]
        rows = tuple(
            _Row(
                each.peer,
                each.account,
                each.subnet or "",
                _STAGES.index(each.stage),
                each.since_s,
                each.until_s,
                each.have_bytes,
                each.checked_s,
                each.reason,
            )
            for each in planner.replicas()
        )
        stored = _Stored(release, planner.wanted, planner.size_bytes, planner.duration_s, rows)
        await self._table.put(release, encode_record(stored))

    async def end(self, release: Cid) -> None:
        """Forget a campaign; pledges that were given run on."""
        self._planners.pop(release, None)
        await self._table.delete(release)

    def _planner(self, stored: _Stored) -> Planner:
        return Planner(
            own=self._own,
            wanted=stored.wanted,
            size_bytes=stored.size_bytes,
            duration_s=stored.duration_s,
            config=self._config,
            replicas=[
                Replica(
                    peer=PeerId(row.peer),
                    account=Account(row.account),
                    subnet=row.subnet or None,
                    stage=_STAGES[row.stage],
                    since_s=row.since,
                    until_s=row.until,
                    have_bytes=row.have_bytes,
                    checked_s=row.checked,
                    reason=row.reason,
                )
                for row in stored.replicas
            ],
        )
