"""What a guardian asks the chain before it releases a key: the licence and the anchored keybox.

This runs for every key request, so it is two raw ``eth_call`` in one round trip, encoded by hand: all
arguments and answers are single words. Where the chain's profile asks for agreement, independent
endpoints must give the same answers for one named block. Source: design, security §1.4 and §13
"Endpoint agreement".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from chain.artifacts import artifact, selector
from chain.contracts import ContractSet
from chain.errors import RpcError
from chain.events import parse_bytes
from chain.rpc import RpcPool
from marina.errors import MalformedError, NetworkError
from marina.ids import Account, TrackId, account_text

_WORD = 32
_UINT64_MAX = 2**64 - 1
_FINALITY_MAX = 2


@dataclass(frozen=True, slots=True)
class LicenceFacts:
    """What the chain says about one account's right to one tier of a track, at one block.

    Attributes:
        licence_id: licence that opens the tier for longest; None if the account has none.
        from_s: Unix second at which it began; 0 without one.
        to_s: first Unix second at which it is over; 0 without one.
        keybox_digest: sha256 of the tier's anchored keybox; None if there is none.
        keybox_epoch: grows with each anchoring; 0 without one.
        finality: which blocks the artist takes as final.
        block: number of the block that was asked about.
    """

    licence_id: bytes | None
    from_s: int
    to_s: int
    keybox_digest: bytes | None
    keybox_epoch: int
    finality: int
    block: int

    def is_open(self, time_s: int) -> bool:
        """Return whether the licence holds at a block of this time."""
        return self.licence_id is not None and self.from_s <= time_s < self.to_s


async def licence_facts(
    rpc: RpcPool, contracts: ContractSet, *, track_id: TrackId, account: Account, tier: int, block: int
) -> LicenceFacts:
    """Return the licence and the keybox of a tier as they were at a block.

    Args:
        rpc: of the chain; its profile says how many endpoints must agree.
        contracts: the set that is asked.
        track_id: of the track.
        account: who wants the key.
        tier: 1 stream, 2 original.
        block: number of a block that is final enough for the artist's policy.

    Raises:
        EndpointsDisagreeError: two endpoints tell different things.
        NetworkError: too few answered, or an answer is none.
        RpcError: the endpoint refused, as when it does not have the block.
    """
    who = bytes(12) + account
    which = tier.to_bytes(_WORD)
    calls = [
        _call(contracts.licensing, "MusicLicensing", "licenceOf", track_id + who + which, block),
        _call(contracts.registry, "TrackRegistry", "keybox", track_id + which, block),
    ]
    licence, keybox = [_words(each) for each in await _ask(rpc, calls)]
    from_s, to_s = int.from_bytes(licence[1]), int.from_bytes(licence[2])
    epoch, finality = int.from_bytes(keybox[1]), int.from_bytes(keybox[2])
    if max(from_s, to_s, epoch) > _UINT64_MAX or finality > _FINALITY_MAX:
        raise NetworkError("an endpoint gave an answer that the contracts cannot give: set another endpoint")
    return LicenceFacts(
        licence_id=licence[0] if any(licence[0]) else None,
        from_s=from_s,
        to_s=to_s,
        keybox_digest=keybox[0] if epoch else None,
        keybox_epoch=epoch,
        finality=finality,
        block=block,
    )


async def _ask(rpc: RpcPool, calls: Sequence[tuple[str, list[object]]]) -> list[Any]:
    if rpc.profile.quorum > 1:
        return [await rpc.agreed(method, params) for method, params in calls]
    answers = await rpc.batch(calls)
    for answer in answers:
        if isinstance(answer, RpcError):
            raise answer
    return answers


def _call(
    to: Account, contract: str, function: str, arguments: bytes, block: int
) -> tuple[str, list[object]]:
    data = _selector(contract, function) + arguments
    return "eth_call", [{"to": account_text(to), "data": "0x" + data.hex()}, hex(block)]


@cache
def _selector(contract: str, function: str) -> bytes:
    return selector(artifact(contract).function(function))


def _words(answer: object) -> list[bytes]:
    """Return the three words that both functions answer with."""
    try:
        data = parse_bytes(answer, "the answer", 3 * _WORD)
    except MalformedError as err:
        raise NetworkError(
            "an endpoint answered a licence check with something else: it may be of another chain, or the "
            "contracts are not there"
        ) from err
    return [data[start : start + _WORD] for start in range(0, len(data), _WORD)]
