"""What a guardian reads before it releases a key, all of it at one block on which endpoints agree.

A key is given for good, so no single endpoint decides: as many as the chain's quorum must show the same
block, and the same answers at it. Which block that is, says the artist's finality policy. Source: design,
security §1.7 step 6 and §1.9, architecture §13 "Endpoint agreement".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio

from chain.artifacts import artifact, decode_result, selector
from chain.contracts import ContractSet
from chain.errors import RpcError
from chain.events import parse_bytes
from chain.revert import is_revert
from chain.rpc import RpcPool
from marina.clock import Clock
from marina.errors import MalformedError, NetworkError
from marina.ids import Account, TrackId, account_text

INCLUDED, SAFE, FINALIZED = range(3)
_TAGS = {INCLUDED: "latest", SAFE: "safe", FINALIZED: "finalized"}
HEAD_S_MAX = 1.0
"""For so long a block counts as the newest: purchases of the last second wait for the next look."""
STALE_S_MAX = 600.0
"""Where several endpoints must agree, a newest block older than this shows that they are behind."""
_HINT_S_MIN = 0.05
"""A listener who saw a newer block makes a guardian look sooner, and nobody can make it look all the time."""
_READS_AT_ONCE = 8
"""Strangers cannot make this node flood its endpoints."""
_FACTS_MAX = 8192
_BACK_MAX = 3
"""Endpoints may be a few blocks apart: an older one is tried before they count as of two minds."""
_SIGNATURE_GAS = 200_000
_MAGIC = bytes.fromhex("1626ba7e")
_UINT64_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Block:
    """A block on which endpoints agree.

    Attributes:
        number: of it.
        hash: 32 bytes.
        time_s: Unix seconds.
    """

    number: int
    hash: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the chain says about one account's right to one tier of a track.

    Attributes:
        block: where it was read.
        is_registered: whether the track is.
        is_blocked: the DAO blocks it.
        licence_id: licence that opens the tier for longest; None if the account has none.
        from_s: Unix second at which it began; 0 without one.
        to_s: first Unix second at which it is over; 0 without one.
        keybox_digest: sha256 of the tier's anchored keybox; None if there is none.
        keybox_epoch: of that keybox.
        finality: which blocks the artist takes as final: 0 included, 1 safe, 2 finalized.
        binding_epoch: device bindings of the account with a lower one are void.
    """

    block: Block
    is_registered: bool
    is_blocked: bool
    licence_id: bytes | None
    from_s: int
    to_s: int
    keybox_digest: bytes | None
    keybox_epoch: int
    finality: int
    binding_epoch: int

    @property
    def is_licensed(self) -> bool:
        """Whether the licence holds at this block's time."""
        return self.licence_id is not None and self.from_s <= self.block.time_s < self.to_s


class KeyChain:
    """Reads such facts; those of a block that is known are not asked for again."""

    def __init__(self, *, rpc: RpcPool, contracts: ContractSet, clock: Clock) -> None:
        self._rpc = rpc
        self._contracts = contracts
        self._clock = clock
        self._heads: dict[int, tuple[Block, float]] = {}
        self._looking = {finality: trio.Lock() for finality in _TAGS}
        self._reading = trio.CapacityLimiter(_READS_AT_ONCE)
        self._facts: OrderedDict[tuple[bytes, ...], KeyFacts] = OrderedDict()

    @property
    def chain_id(self) -> int:
        """EIP-155 id."""
        return self._rpc.profile.chain_id

    @property
    def registry(self) -> bytes:
        """Address of the TrackRegistry."""
        return bytes(self._contracts.registry)

    async def block(self, finality: int = INCLUDED, *, seen: int = 0) -> Block:
        """Return the newest block that a policy takes, at most a second old.

        Args:
            finality: the policy.
            seen: number of a block that somebody says to have seen: an older one is looked for anew at once.

        Raises:
            EndpointsDisagreeError: endpoints show different chains.
            NetworkError: too few answer, with nothing that has a sense, or they are far behind.
        """
        async with self._looking[finality]:  # whoever waited finds what the one ahead has seen
            known = self._heads.get(finality)
            if known is not None:
                age_max_s = HEAD_S_MAX if known[0].number >= seen else _HINT_S_MIN
                if self._clock.monotonic_s() < known[1] + age_max_s:
                    return known[0]
            return await self._look(finality)

    async def _look(self, finality: int) -> Block:
        asked_s = self._clock.monotonic_s()
        call = ("eth_getBlockByNumber", [_TAGS[finality], False])
        blocks = [_block(each) for (each,) in await self._rpc.independent([call])]
        found = blocks[0]
        if len(blocks) > 1:
            # One block behind the newest: the purchase's own block and one more (design, §1.9).
            depth = 1 if finality == INCLUDED else 0
            found = await self._agreed(max(0, min(each.number for each in blocks) - depth))
            self._check_fresh(found, finality)
        self._heads[finality] = found, asked_s
        return found

    async def hash_at(self, number: int) -> bytes:
        """Return the hash of the block with a number, as one endpoint says; NetworkError without one."""
        call = ("eth_getBlockByNumber", [hex(number), False])
        (found,) = await self._rpc.batch([call])
        if isinstance(found, RpcError):
            raise NetworkError(f"an endpoint has not block {number}: {found.message}")
        return _block(found).hash

    async def facts(self, track_id: TrackId, account: Account, tier: int, block: Block) -> KeyFacts:
        """Return what the chain says at a block.

        Raises:
            EndpointsDisagreeError, NetworkError: as ``block``.
        """
        key = (block.hash, track_id, bytes(account), bytes((tier,)))
        known = self._facts.get(key)
        if known is None:
            async with self._reading:
                known = self._facts[key] = await self._read(track_id, account, tier, block)
            if len(self._facts) > _FACTS_MAX:
                self._facts.popitem(last=False)
        return known

    async def accepts(self, account: Account, digest: bytes, signature: bytes, block: Block) -> bool:
        """Return whether an account that is a contract takes a signature for its own (ERC-1271).

        Raises:
            EndpointsDisagreeError, NetworkError: as ``block``.
        """
        where = hex(block.number)
        if await self._rpc.agreed("eth_getCode", [account_text(account), where]) in ("0x", None):
            return False
        data = _MAGIC + digest + (64).to_bytes(32) + len(signature).to_bytes(32)
        data += signature + bytes(-len(signature) % 32)
        call = {"to": account_text(account), "data": "0x" + data.hex(), "gas": hex(_SIGNATURE_GAS)}
        try:
            answer = parse_bytes(await self._rpc.agreed("eth_call", [call, where]), "the answer", 32)
        except (RpcError, MalformedError):  # it refuses, has no such function, or answers something else
            return False
        return answer == _MAGIC + bytes(28)

    def _check_fresh(self, block: Block, finality: int) -> None:
        """An old block would let licences live on that have ended since."""
        behind_s = self._clock.now_s() - block.time_s
        if finality == INCLUDED and behind_s > max(STALE_S_MAX, 50 * self._rpc.profile.block_s):
            raise NetworkError(f"the endpoints of the chain are {behind_s} s behind this node's clock")

    async def _read(self, track_id: TrackId, account: Account, tier: int, block: Block) -> KeyFacts:
        who, which = bytes(12) + account, tier.to_bytes(32)
        wanted = [
            ("licensing", "MusicLicensing", "licenceOf", track_id + who + which),
            ("registry", "TrackRegistry", "keybox", track_id + which),
            ("registry", "TrackRegistry", "bindingEpoch", who),
            ("registry", "TrackRegistry", "record", bytes(track_id)),
        ]
        calls: list[tuple[str, Sequence[object]]] = [
            ("eth_call", [_message(self._contracts, *each), hex(block.number)]) for each in wanted
        ]
        calls.append(("eth_getBlockByNumber", [hex(block.number), False]))
        *answers, seen = await self._rpc.agreed_batch(calls, view=_view)
        if isinstance(seen, RpcError):
            raise NetworkError(f"an endpoint has not the block that was read: {seen.message}")
        if _block(seen).hash != block.hash:
            self._heads.clear()
            raise NetworkError("the chain changed while it was read: ask again")
        for answer in answers:
            if isinstance(answer, RpcError):
                if not is_revert(answer):
                    raise NetworkError(f"an endpoint refuses a licence check: {answer.message}")
                # Only what is not registered has no record.
                return KeyFacts(block, False, False, None, 0, 0, None, 0, 0, 0)
        return _facts(block, answers)

    async def _agreed(self, number: int) -> Block:
        fault: NetworkError | None = None
        for back in range(_BACK_MAX):
            call = ("eth_getBlockByNumber", [hex(max(0, number - back)), False])
            try:
                (found,) = await self._rpc.agreed_batch([call], view=_view)
                return _block(found)
            except NetworkError as err:
                fault = fault or err
        raise fault or NetworkError("the endpoints of the chain do not agree")


def _message(contracts: ContractSet, place: str, contract: str, function: str, arguments: bytes) -> object:
    data = selector(artifact(contract).function(function)) + arguments
    return {"to": account_text(getattr(contracts, place)), "data": "0x" + data.hex()}


def _view(answer: Any) -> object:
    """Return what must be the same: of a block its hash, of which all else is part."""
    return answer.get("hash") if isinstance(answer, dict) else answer


def _block(answer: Any) -> Block:
    try:
        found = Block(
            int(answer["number"], 16),
            parse_bytes(answer["hash"], "the hash", 32),
            int(answer["timestamp"], 16),
        )
    except (TypeError, KeyError, ValueError, MalformedError) as err:
        raise NetworkError("an endpoint of the chain does not show a block that it should have") from err
    if not 0 <= found.number <= _UINT64_MAX or not 0 <= found.time_s <= _UINT64_MAX:
        raise NetworkError("an endpoint of the chain shows a block that cannot be")
    return found


def _facts(block: Block, answers: Sequence[object]) -> KeyFacts:
    try:
        licence, keybox, epoch, record = (parse_bytes(each, "the answer") for each in answers)
        licence_id, from_s, to_s = decode_result("MusicLicensing", "licenceOf", licence, 3)
        digest, keybox_epoch, finality = decode_result("TrackRegistry", "keybox", keybox, 2)
        (binding_epoch,) = decode_result("TrackRegistry", "bindingEpoch", epoch, 1)
        is_blocked = decode_result("TrackRegistry", "record", record, 1)[7]
    except MalformedError as err:
        raise NetworkError(
            "an endpoint answered a licence check with something else: it may be of another chain, or the "
            "contracts are not there"
        ) from err
    return KeyFacts(
        block=block,
        is_registered=True,
        is_blocked=bool(is_blocked),
        licence_id=bytes(licence_id) if any(licence_id) else None,
        from_s=from_s,
        to_s=to_s,
        keybox_digest=bytes(digest) if keybox_epoch else None,
        keybox_epoch=keybox_epoch,
        finality=min(finality, FINALIZED),
        binding_epoch=binding_epoch,
    )
