"""Which moderation list the DAO adopted, as the chain says: confirmed, and agreed between endpoints."""

from __future__ import annotations

from chain.contracts import ContractSet
from marina.ids import account_text
from node.chain.service import ChainService

NO_LIST = bytes(32)
"""The digest while none is adopted."""


class AdoptedList:
    """Reads the digest from the chain and from its index."""

    def __init__(self, chain: ChainService) -> None:
        self._chain = chain

    @property
    def chain_id(self) -> int | None:
        """Of the configured chain, None for none."""
        profile = self._chain.profile
        return None if profile is None else profile.chain_id

    async def indexed(self) -> bytes:
        """Return what the index has: a read of the local database, to be confirmed by ``digest``.

        Raises:
            MarinaError: the chain cannot be used as it is configured.
        """
        row = await self._chain.get().tables.moderation_list()
        return NO_LIST if row is None else row.digest

    async def digest(self) -> bytes:
        """Return the adopted digest at the newest confirmed block; one endpoint alone cannot change it.

        Raises:
            NetworkError: too few endpoints answer, or they differ.
            MarinaError: the chain cannot be used as it is configured.
        """
        from chain.errors import RpcError
        from chain.events import parse_bytes

        chain = self._chain.get()
        block = max(0, await chain.gateway.head() - chain.profile.confirmations + 1)
        # An only endpoint is one that the owner trusts with everything else, too.
        quorum = min(chain.profile.quorum, chain.rpc.operators)
        call = ("eth_call", [_call(chain.contracts), hex(block)])
        (answer,) = await chain.rpc.agreed_batch([call], quorum=quorum)
        if isinstance(answer, RpcError):
            raise answer
        return parse_bytes(answer, "the moderation list's digest", len(NO_LIST))


def _call(contracts: ContractSet) -> dict[str, str]:
    from chain.artifacts import artifact, selector

    data = selector(artifact("TrackRegistry").function("moderationList"))
    return {"to": account_text(contracts.registry), "data": "0x" + data.hex()}
