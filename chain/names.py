"""From a name of the Ethereum Name Service to the account that it stands for.

web3 gives the normalisation of names, their hashes and the interfaces of registry and resolver. Its
``AsyncENS`` is not used: since version 8 it asks nothing but a universal resolver at an address of its
own, through gateways on the web that a contract names. Here the registry of the chain's profile is asked
for the resolver, and the resolver for the address, both at a settled block and of as many endpoints as
the chain's quorum asks for: a lie would send money elsewhere. Names that are kept off the chain
(CCIP-read, ERC-3668) and wildcard resolvers (ENSIP-10) are refused: no contract makes this node ask a
server.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import trio

from chain.contracts import ZERO
from chain.endpoint import clean
from chain.errors import ChainUnavailableError, RevertedError, RpcError
from chain.events import parse_bytes
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from chain.gateway import Gateway

NAME_BYTES_MAX = 255
TIMEOUT_S = 20.0
_GAS = 500_000
"""Ten times what resolvers use; it also bounds how long one computes, and its answer to half a MiB."""
_OFF_CHAIN = bytes.fromhex("556f1830")
"""``OffchainLookup(address,string[],bytes,bytes4,bytes)``, ERC-3668."""
_ADDRESS_AT = 12


async def resolve_name(gateway: Gateway, name: str, *, timeout_s: float = TIMEOUT_S) -> Account:
    """Return the account that a name stands for now, never the zero address.

    Args:
        gateway: of the chain.
        name: like ``alice.eth``, in its normal form (ENSIP-15).
        timeout_s: for everything together.

    Raises:
        UsageError: the chain has no names, or this is none as ENS writes them.
        NotFoundError: the name stands for no account.
        NetworkError: the chain does not answer, or its endpoints differ.
        RpcError: an endpoint refuses to say.
    """
    profile = gateway.profile
    if profile.ens_registry is None:
        raise UsageError(f"{profile.name} has no ENS names: give the whole address")
    # Unicode tables and interfaces take web3 a second the first time, and a long name some milliseconds.
    ask_registry, ask_resolver = await trio.to_thread.run_sync(_questions, gateway, name)
    with trio.move_on_after(timeout_s):
        block = max(0, await gateway.head() - profile.confirmations + 1)
        resolver = await _registered(gateway, profile.ens_registry, ask_registry, block)
        if resolver is None:
            raise NotFoundError(f"nobody has set up the name {name}: check it, or give the whole address")
        return await _resolved(gateway, name, resolver, ask_resolver, block)
    raise ChainUnavailableError(f"the chain did not say in {timeout_s:g} s whose name {name} is: try later")


def normal_name(name: str) -> str:
    """Return a name that is written as ENS has it, unchanged.

    Raises:
        UsageError: it is none, it could be taken for another, or it is written in another way; the message
            then has the normal form, which the person must see.
    """
    from ens.exceptions import ENSException  # type: ignore[import-untyped]

    shown = clean(name[:80])
    if len(name.encode(errors="replace")) > NAME_BYTES_MAX:
        raise UsageError(f"{shown}… is too long for an ENS name: give the whole address")
    try:
        normal = _normaliser()(name)
    except (ENSException, ValueError) as err:
        raise UsageError(f"{shown!r} is no ENS name ({clean(str(err))}): give the whole address") from err
    if not normal:
        raise UsageError(f"{shown!r} is no ENS name: give the whole address")
    if normal != name:
        raise UsageError(f"{shown!r} is not written as ENS has it: if you mean {normal!r}, write that")
    return normal


async def _registered(gateway: Gateway, registry: Account, question: bytes, block: int) -> Account | None:
    """Return the resolver of a name, None if there is none."""
    try:
        return _account(await gateway.agreed_call(registry, question, block=block, gas=_GAS))
    except (MalformedError, RevertedError) as err:
        raise ChainUnavailableError(
            f"{account_text(registry)} does not answer as the ENS registry of {gateway.profile.name} does: "
            "set another endpoint in chain.endpoints"
        ) from err


async def _resolved(gateway: Gateway, name: str, resolver: Account, question: bytes, block: int) -> Account:
    """Return what a resolver says; anybody may have written it."""
    try:
        found = _account(await gateway.agreed_call(resolver, question, block=block, gas=_GAS))
    except MalformedError as err:
        raise NotFoundError(f"the resolver of {name} gives no address: give the whole address") from err
    except (RevertedError, RpcError) as err:
        # The endpoint has the block, or the registry had not answered: it is the resolver that refuses.
        if _is_off_chain(err):
            raise NotFoundError(
                f"{name} is kept off the chain, on a server that Marina does not ask: give the whole address"
            ) from err
        raise NotFoundError(f"the resolver of {name} fails ({err}): give the whole address") from err
    if found is None:
        raise NotFoundError(f"{name} stands for no account: give the whole address")
    return found


def _is_off_chain(err: RevertedError | RpcError) -> bool:
    said = err if isinstance(err, RpcError) else err.__cause__
    return isinstance(said, RpcError) and (said.data or b"").startswith(_OFF_CHAIN)


def _account(answer: object) -> Account | None:
    """Return the address of an ABI word, None for the zero address."""
    word = parse_bytes(answer, "the answer", 32)
    if any(word[:_ADDRESS_AT]):
        raise MalformedError("the answer is no address")
    found = Account(word[_ADDRESS_AT:])
    return None if found == ZERO else found


def _questions(gateway: Gateway, name: str) -> tuple[bytes, bytes]:
    """Return what the registry and what the resolver is asked about a name; errors as ``normal_name``."""
    from ens import abis  # type: ignore[import-untyped]
    from ens.utils import normal_name_to_hash  # type: ignore[import-untyped]

    node = normal_name_to_hash(normal_name(name))
    contract = gateway.web3.eth.contract
    return (
        _data(contract(abi=abis.ENS).encode_abi("resolver", args=[node])),
        _data(contract(abi=abis.PUBLIC_RESOLVER_2_EXTENDED).encode_abi("addr(bytes32)", args=[node])),
    )


def _data(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@cache
def _normaliser() -> Callable[[str], str]:
    """Return web3's, mended: 8.0.0 hands a list to ``NFC``, and pyunormalize 18 takes only a text."""
    from ens import _normalization
    from ens.utils import normalize_name

    nfc = _normalization.NFC
    _normalization.NFC = lambda chars: nfc("".join(chars))
    normaliser: Callable[[str], str] = normalize_name
    return normaliser
