"""Reads of our contracts through web3.py, in Marina's own types."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chain.artifacts import artifact
from chain.contracts import ContractSet
from chain.errors import ChainUnavailableError, RpcError
from chain.provider import make_web3
from chain.revert import is_revert, reverted
from chain.rpc import RpcPool
from marina.errors import MalformedError
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from web3 import AsyncWeb3


class ContractReader:
    """Calls view functions of one contract set. web3 is loaded at the first call, not before."""

    def __init__(self, *, rpc: RpcPool, contracts: ContractSet) -> None:
        self._rpc = rpc
        self._contracts = contracts
        self._web3: AsyncWeb3[Any] | None = None
        self._of = lru_cache(maxsize=32)(self._contract)

    @property
    def contracts(self) -> ContractSet:
        """Where the contracts are."""
        return self._contracts

    @property
    def rpc(self) -> RpcPool:
        """The endpoints that are asked."""
        return self._rpc

    async def time_s(self) -> int:
        """Return the time of the newest block: what contracts go by, not this machine's clock."""
        block = await self._rpc.call("eth_getBlockByNumber", ["latest", False])
        try:
            return int(block["timestamp"], 16)
        except (LookupError, TypeError, ValueError) as err:
            raise ChainUnavailableError(
                "the chain's endpoint gives a block without a time: set another in chain.endpoints"
            ) from err

    async def read(self, name: str, function: str, *args: object, block: int | str = "latest") -> Any:
        """Return what a view function of one of our contracts answers.

        Addresses go in and come out as 20 bytes, also inside structs and lists; structs come as tuples.

        Raises:
            RevertedError: the function refused; the sentence says why.
            MalformedError: what is there is another contract.
            NetworkError: nobody answered.
        """
        return await self._call(self._of(name, self._contracts.named()[name]), function, args, block)

    async def read_at(self, address: Account, name: str, function: str, *args: object) -> Any:
        """Return what a view function answers of a contract elsewhere that has the same interface."""
        return await self._call(self._of(name, address), function, args, "latest")

    async def _call(self, contract: Any, function: str, args: tuple[object, ...], block: int | str) -> Any:
        from web3.exceptions import Web3Exception

        bound = contract.get_function_by_name(function)(*args)
        try:
            answer = await bound.call(block_identifier=block)
        except RpcError as err:
            raise (reverted(err) if is_revert(err) else err) from err
        except (Web3Exception, OverflowError, UnicodeDecodeError) as err:
            raise MalformedError(
                f"{contract.address} does not answer what {function} returns: it is another contract"
            ) from err
        outputs = bound.abi["outputs"]
        if len(outputs) == 1:
            return _plain(answer, outputs[0]["type"], outputs[0])
        return tuple(_plain(each, kind["type"], kind) for each, kind in zip(answer, outputs, strict=True))

    def _contract(self, name: str, address: Account) -> Any:
        if self._web3 is None:
            self._web3 = make_web3(self._rpc)
        return self._web3.eth.contract(address=account_text(address), abi=list(artifact(name).abi))


def _plain(value: Any, kind: str, parameter: Any) -> Any:
    """Return a web3 answer of an ABI type with addresses as bytes and structs as tuples."""
    if kind.endswith("]"):
        return tuple(_plain(each, kind[: kind.rindex("[")], parameter) for each in value)
    if kind == "tuple":
        parts = parameter["components"]
        return tuple(_plain(each, part["type"], part) for each, part in zip(value, parts, strict=True))
    if kind == "address":
        return Account(bytes.fromhex(value[2:]))
    return bytes(value) if isinstance(value, bytes) else value
