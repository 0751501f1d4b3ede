"""What a listener's node asks the chain before it uses a key: the licence, the anchored keybox, the time.

One round trip to one endpoint: the listener harms only itself with a lying one, and guardians ask on
their own. The words of the calls are single, so nothing heavy is loaded to encode them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ListeningRight:
    """One account's right to one tier of a track, at the newest block of one endpoint.

    Attributes:
        licence: id of the licence that opens the tier for longest; None without one.
        expires_s: first Unix second at which it is over; 0 without one.
        digest: sha256 of the tier's anchored keybox; None if none is anchored.
        epoch: grows with each anchoring; 0 without one.
        finality: which blocks the artist takes as final: 0, 1 safe, 2 finalized.
        block: number of the block.
        time_s: its time, by which licences end.
    """

    licence: bytes | None
    expires_s: int
    digest: bytes | None
    epoch: int
    finality: int
    block: int
    time_s: int

    @property
    def is_open(self) -> bool:
        """Whether the licence runs."""
        return self.licence is not None and self.time_s < self.expires_s


async def listening_rights(
    rpc: RpcPool, contracts: ContractSet, *, account: Account, tiers: Sequence[tuple[TrackId, int]]
) -> list[ListeningRight]:
    """Return an account's rights to tiers of tracks, in their order.

    Args:
        rpc: of the chain.
        contracts: the set that is asked.
        account: who wants to listen.
        tiers: pairs of a track and a tier.

    Raises:
        NetworkError: no endpoint answers, or one answers what the contracts cannot say.
    """
    who = bytes(12) + account
    calls: list[tuple[str, list[object]]] = [("eth_getBlockByNumber", ["latest", False])]
    for track_id, tier in tiers:
        which = tier.to_bytes(_WORD)
        calls.append(_call(contracts.licensing, "MusicLicensing", "licenceOf", track_id + who + which))
        calls.append(_call(contracts.registry, "TrackRegistry", "keybox", track_id + which))
    try:
        head, *answers = [_sound(each) for each in await rpc.batch(calls)]
        block, time_s = int(head["number"], 16), int(head["timestamp"], 16)
        words = [_words(each) for each in answers]
        if not (0 <= block <= _UINT64_MAX and 0 <= time_s <= _UINT64_MAX):
            raise MalformedError("the block cannot be")
    except (RpcError, MalformedError, LookupError, TypeError, ValueError) as err:
        raise NetworkError(
            "the chain's endpoint does not answer what a licence check asks: set another in chain.endpoints"
        ) from err
    return [
        _right(licence, keybox, block, time_s)
        for licence, keybox in zip(words[::2], words[1::2], strict=True)
    ]


def _right(licence: Sequence[bytes], keybox: Sequence[bytes], block: int, time_s: int) -> ListeningRight:
    expires_s, epoch, finality = (int.from_bytes(each) for each in (licence[2], keybox[1], keybox[2]))
    has_licence = any(licence[0])
    return ListeningRight(
        licence=licence[0] if has_licence else None,
        expires_s=min(expires_s, _UINT64_MAX) if has_licence else 0,
        digest=keybox[0] if epoch else None,
        epoch=epoch,
        finality=finality,
        block=block,
        time_s=time_s,
    )


def _sound(answer: Any) -> Any:
    if isinstance(answer, RpcError):
        raise answer
    return answer


def _call(to: Account, contract: str, function: str, arguments: bytes) -> tuple[str, list[object]]:
    data = selector(artifact(contract).function(function)) + arguments
    return "eth_call", [{"to": account_text(to), "data": "0x" + data.hex()}, "latest"]


def _words(answer: object) -> list[bytes]:
    data = parse_bytes(answer, "the answer", 3 * _WORD)
    return [data[start : start + _WORD] for start in range(0, len(data), _WORD)]
