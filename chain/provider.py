"""web3.py over Marina's endpoints: a provider that runs on trio.

web3 8.0.0 has providers on asyncio only (aiohttp, websockets). Its contract, fee and transaction layers
ask nothing but ``make_request``, so they run on trio as they are; waiting for receipts and batches are
asyncio inside and are done by ``chain.sender`` and ``RpcPool.batch``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chain.rpc import RpcPool

if TYPE_CHECKING:
    from web3 import AsyncWeb3


def make_web3(rpc: RpcPool) -> AsyncWeb3[Any]:
    """Return web3 over these endpoints. Its first import takes about a second.

    The validation middleware is left out: it asks for the chain id twice with every call, which the
    pool has pinned. So is everything that signs or fills in: ``chain.sender`` does.
    """
    from eth_typing import URI  # noqa: F401 - web3 needs its types loaded before the provider's class
    from web3 import AsyncWeb3
    from web3.middleware import AttributeDictMiddleware
    from web3.providers.async_base import AsyncJSONBaseProvider

    class TrioProvider(AsyncJSONBaseProvider):  # type: ignore[misc]
        """Hands each request to the pool; what goes wrong passes through web3 as the pool's own errors."""

        async def make_request(self, method: Any, params: Any) -> Any:
            result = await rpc.call(str(method), [_wire(each) for each in params])
            return {"jsonrpc": "2.0", "id": 0, "result": result}

    return AsyncWeb3(TrioProvider(), middleware=[AttributeDictMiddleware])


def _wire(value: Any) -> Any:
    """Return a parameter as JSON has it: web3 leaves bytes in some of them."""
    if isinstance(value, (bytes, bytearray)):
        return "0x" + bytes(value).hex()
    if isinstance(value, dict):
        return {key: _wire(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_wire(each) for each in value]
    return value
