"""Guardians: their rows, and what the events of GuardianRegistry mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chain.events import Event
from chain.index.rows import Handler, Units, changing, key, marking, putting, removing, units
from chain.index.store import Change
from marina.schema import U64, Bytes20, Bytes32, record

GUARDIANS = "guardian"
GUARDIANS_BY_PEER = "guardian-peer"


@record("marina/chain/guardian/1")
@dataclass(frozen=True, slots=True)
class GuardianRow:
    """One guardian as it is now.

    Attributes:
        account: whose bond it is.
        peer_key: raw Ed25519 public key of its node.
        hpke_key: raw X25519 public key that shares are sealed to.
        bond: base units of MMT.
        fee_per_release: base units of MMT.
        active_s: when it last said that it is there.
        unlocks_s: when its bond can be withdrawn; 0 while it is a guardian.
        is_removed: the DAO removed it.
        block: last block that changed it.
    """

    account: Bytes20
    peer_key: Bytes32
    hpke_key: Bytes32
    bond: Units
    fee_per_release: Units
    active_s: U64
    unlocks_s: U64
    is_removed: bool
    block: U64


def _registered(event: Event, time_s: int) -> Sequence[Change]:
    said = event.values
    row = GuardianRow(
        account=said["account"],
        peer_key=said["peerKey"],
        hpke_key=said["hpkeKey"],
        bond=units(said["bond"]),
        fee_per_release=units(said["feePerRelease"]),
        active_s=time_s,
        unlocks_s=0,
        is_removed=False,
        block=event.log.block,
    )
    return [
        putting(key(GUARDIANS, row.account), row),
        marking(key(GUARDIANS_BY_PEER, row.peer_key), row.account),
    ]


def _updated(event: Event, time_s: int) -> Sequence[Change]:
    said = event.values
    fee = units(said["feePerRelease"])
    # The contract counts it as a sign of life, and gives that no event of its own.
    return [
        _of(event, lambda row: replace(row, hpke_key=said["hpkeKey"], fee_per_release=fee, active_s=time_s))
    ]


def _bond_added(event: Event, _: int) -> Sequence[Change]:
    bond = units(event.values["bond"])
    return [_of(event, lambda row: replace(row, bond=bond))]


def _active(event: Event, _: int) -> Sequence[Change]:
    return [_of(event, lambda row: replace(row, active_s=event.values["activeAt"]))]


def _left(event: Event, _: int) -> Sequence[Change]:
    said = event.values
    return [_of(event, lambda row: replace(row, unlocks_s=said["unlocksAt"], is_removed=said["byDao"]))]


def _withdrawn(event: Event, _: int) -> Sequence[Change]:
    return [removing(key(GUARDIANS, event.values["account"]), GuardianRow)]


def _of(event: Event, change: Callable[[GuardianRow], GuardianRow]) -> Change:
    block = event.log.block
    return changing(
        GuardianRow, key(GUARDIANS, event.values["account"]), lambda row: replace(change(row), block=block)
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GuardianRegistry", "GuardianRegistered"): _registered,
    ("GuardianRegistry", "GuardianUpdated"): _updated,
    ("GuardianRegistry", "BondAdded"): _bond_added,
    ("GuardianRegistry", "GuardianActive"): _active,
    ("GuardianRegistry", "GuardianLeft"): _left,
    ("GuardianRegistry", "BondWithdrawn"): _withdrawn,
}
