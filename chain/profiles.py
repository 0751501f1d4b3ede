"""The chains that Marina can settle on, each with what must not be guessed."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from marina.errors import UsageError
from marina.ids import Account

GWEI = 10**9


@dataclass(frozen=True, slots=True)
class ChainProfile:
    """One chain.

    Attributes:
        name: as the setting ``chain.profile`` writes it.
        chain_id: EIP-155 id; an endpoint of another chain is refused.
        confirmations: n with head − block + 1 ≥ n makes a transaction settled.
        min_tip_wei: lowest priority fee that blocks take.
        max_tip_wei: highest priority fee that is offered, whatever an endpoint calls usual.
        symbol: of the native coin.
        quorum: endpoints that must agree where keys are released.
        block_s: usual seconds between blocks.
        ens_registry: contract that knows names like ``alice.eth``; None where there are no such names.
    """

    name: str
    chain_id: int
    confirmations: int
    min_tip_wei: int
    max_tip_wei: int
    symbol: str
    quorum: int
    block_s: float
    ens_registry: Account | None = None


ENS = Account(bytes.fromhex("00000000000C2E074eC69A0dFb2997BA6C7d2e1e"))
DEV_ENDPOINT = "http://127.0.0.1:8545"
PROFILES = {
    each.name: each
    for each in (
        # One operator and no consensus: what it says is final, and one endpoint is all there is.
        ChainProfile("dev", 31337, 1, 1, 10 * GWEI, "DEV", 1, 1.0),
        # Twelve blocks are what exchanges ask for; 0.01 gwei passes in quiet blocks.
        ChainProfile("ethereum", 1, 12, GWEI // 100, 20 * GWEI, "ETH", 2, 12.0, ENS),
        # Polygon's nodes drop transactions below a tip of 25 gwei; re-orgs of several blocks happen.
        ChainProfile("polygon", 137, 64, 25 * GWEI, 2_000 * GWEI, "POL", 2, 2.0),
        ChainProfile("polygon-amoy", 80002, 16, 25 * GWEI, 2_000 * GWEI, "POL", 2, 2.0),
    )
}


def check_endpoint(url: str) -> str:
    """Return an endpoint's address if it may be used, its scheme in small letters.

    Raises:
        UsageError: it is no http, https, ws or wss address, carries a user name, or is not encrypted on its
            way to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if (
        parts.scheme not in ("http", "https", "ws", "wss")
        or not host
        or not url.isprintable()
        or " " in url
        or parts.username
        or parts.password
        or parts.fragment
    ):
        raise UsageError(
            f"{masked(url)!r} is no address of a JSON-RPC endpoint: write it like https://rpc.example.org"
        )
    if parts.scheme in ("http", "ws") and not _is_loopback(host):
        raise UsageError(
            f"{masked(url)} would be asked without encryption: use its https or wss address, "
            "or an endpoint on this machine"
        )
    return parts.scheme + url[len(parts.scheme) :]


def masked(url: str) -> str:
    """Return an endpoint for messages and logs: path and query may hold a provider's key and stay away."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "?"
    return f"{parts.scheme}://{host}{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
