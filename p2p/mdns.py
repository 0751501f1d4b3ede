"""Finding nodes in the local network by multicast DNS, with no server and no internet.

The service type is Marina's own, ``_marina._udp.local.``: under libp2p's ``_p2p._udp`` every IPFS node of
the network would be found and dialled, and they would dial us. Instance names are random; the peer id
and its addresses stand in TXT records as ``dnsaddr=/ip4/…/tcp/…/p2p/…``. Only addresses of local ranges
are believed. zeroconf runs in threads of its own; nothing of it blocks the event loop.
Source: RFC 6762, RFC 6763, libp2p mDNS specification.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from marina.clock import Clock
from marina.errors import MalformedError, NetworkError
from marina.ids import PeerId
from p2p import addresses
from p2p.peerid import to_libp2p
from p2p.wire.ticket import ADDRESSES_MAX

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

SERVICE_TYPE = "_marina._udp.local."
NEIGHBOURS_MAX = 128
_NAMES_WAITING_MAX = 64
_RESOLVE_MS = 3000
_TXT_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node that says it is in the local network.

    Attributes:
        peer: peer id; proven only when it is dialled.
        addresses: local TCP multiaddresses ending in ``/p2p/<peer>``.
        seen_s: monotonic seconds of its last sign of life.
    """

    peer: PeerId
    addresses: tuple[str, ...]
    seen_s: float


class LanDiscovery:
    """Makes this node known in the local network and remembers the others.

    Args:
        peer: this node's id.
        listen_addrs: returns where it listens; asked once, when ``run`` starts.
        clock: for the age of neighbours.
        interfaces: addresses of the interfaces to use; all by default.
    """

    def __init__(
        self,
        *,
        peer: PeerId,
        listen_addrs: Callable[[], Sequence[str]],
        clock: Clock,
        interfaces: Sequence[str] | None = None,
    ) -> None:
        self._peer = peer
        self._listen_addrs = listen_addrs
        self._clock = clock
        self._interfaces = list(interfaces) if interfaces is not None else None
        self._neighbours: OrderedDict[str, Neighbour] = OrderedDict()
        self._found = trio.Event()

    def neighbours(self) -> list[Neighbour]:
        """Return the known neighbours, the newest last."""
        return list(self._neighbours.values())

    async def wait_for_change(self) -> None:
        """Return when a neighbour appears or changes; put a deadline around it."""
        await self._found.wait()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Speak and listen until cancelled; says goodbye to the network at the end.

        Raises:
            NetworkError: no interface allows multicast, or none does any more.
        """
        try:
            await self._speak(task_status)
        except (OSError, ZeroconfError) as err:
            raise NetworkError(f"the local network cannot be asked for other nodes ({err})") from err

    async def _speak(self, task_status: TaskStatus[None]) -> None:
        limiter = trio.CapacityLimiter(2)
        zeroconf = await trio.to_thread.run_sync(self._open, limiter=limiter)
        send, receive = trio.open_memory_channel[tuple[str, bool]](_NAMES_WAITING_MAX)
        try:
            info = self._own_service()
            if info is not None:
                await trio.to_thread.run_sync(zeroconf.register_service, info, limiter=limiter)
            listener = _Listener(trio.lowlevel.current_trio_token(), send, own=info.name if info else "")
            browser = await trio.to_thread.run_sync(
                lambda: ServiceBrowser(zeroconf, SERVICE_TYPE, listener=listener), limiter=limiter
            )
            task_status.started()
            async for name, is_here in receive:
                if is_here:
                    await self._resolve(zeroconf, name, limiter)
                else:
                    self._neighbours.pop(name, None)
            browser.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 3.0):
                await trio.to_thread.run_sync(
                    zeroconf.close,
                    limiter=limiter,
                    abandon_on_cancel=True,  # type: ignore[call-arg]  # the stubs know only its old name
                )

    def _open(self) -> Zeroconf:
        try:
            if self._interfaces is None:
                return Zeroconf(ip_version=IPVersion.V4Only)
            return Zeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)
        except OSError as err:
            raise NetworkError(
                f"the local network does not allow multicast ({err.strerror}): "
                "set swarm.lan_discovery to off, or use a link or a bootstrap address"
            ) from err

    def _own_service(self) -> ServiceInfo | None:
        """Return what this node registers; None when it listens on no local address."""
        local = [each for each in self._listen_addrs() if _local_address(each) is not None]
        if not local:
            return None
        parts = [addresses.parse(each) for each in local[:ADDRESSES_MAX]]
        name = secrets.token_hex(16)
        properties: dict[str | bytes, str | bytes | None] = {}
        for number, each in enumerate(parts):
            properties[f"dnsaddr{number or ''}"] = str(addresses.with_peer(str(each), self._peer))
        packed = [ipaddress.ip_address(each.host).packed for each in parts if each.kind == "ip4"]
        return ServiceInfo(
            SERVICE_TYPE,
            f"{name}.{SERVICE_TYPE}",
            port=parts[0].port,
            properties=properties,
            addresses=packed,
            server=f"{name}.local.",
        )

    async def _resolve(self, zeroconf: Zeroconf, name: str, limiter: trio.CapacityLimiter) -> None:
        info = await trio.to_thread.run_sync(
            zeroconf.get_service_info,
            SERVICE_TYPE,
            name,
            _RESOLVE_MS,
            limiter=limiter,
            abandon_on_cancel=True,  # type: ignore[call-arg]  # the stubs know only its old name
        )
        if info is None:
            return
        try:
            neighbour = read_neighbour(info.properties, self._clock.monotonic_s())
        except MalformedError as err:
            log.debug("a node in the local network is not understood: %s", err)
            return
        if neighbour.peer == self._peer:
            return
        self._neighbours.pop(name, None)
        if len(self._neighbours) >= NEIGHBOURS_MAX:
            self._neighbours.popitem(last=False)
        self._neighbours[name] = neighbour
        self._found.set()
        self._found = trio.Event()


class _Listener(ServiceListener):  # type: ignore[misc]
    """Carries names from zeroconf's thread to trio; drops them when too many wait."""

    def __init__(
        self, token: trio.lowlevel.TrioToken, send: trio.MemorySendChannel[tuple[str, bool]], *, own: str
    ) -> None:
        self._token = token
        self._send = send
        self._own = own

    def add_service(self, _: Any, type_: str, name: str) -> None:
        """A service appeared."""
        self._tell(type_, name, is_here=True)

    def update_service(self, _: Any, type_: str, name: str) -> None:
        """A service changed its records."""
        self._tell(type_, name, is_here=True)

    def remove_service(self, _: Any, type_: str, name: str) -> None:
        """A service said goodbye or its records expired."""
        self._tell(type_, name, is_here=False)

    def _tell(self, type_: str, name: str, *, is_here: bool) -> None:
        if type_ != SERVICE_TYPE or name == self._own or len(name) > _TXT_BYTES_MAX:
            return

        def put() -> None:
            try:
                self._send.send_nowait((name, is_here))
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("a local service was not noticed: too many at once")

        try:
            self._token.run_sync_soon(put)
        except trio.RunFinishedError:
            return  # the node has stopped; nobody is interested any more


def read_neighbour(properties: Mapping[Any, Any], now_s: float) -> Neighbour:
    """Return the neighbour that TXT records describe.

    Raises:
        MalformedError: no local address, no peer id, or two different ones.
    """
    found: list[str] = []
    peers: set[PeerId] = set()
    for key, value in list(properties.items())[: 2 * ADDRESSES_MAX]:
        if not isinstance(key, bytes) or not key.startswith(b"dnsaddr") or not isinstance(value, bytes):
            continue
        text = value[:_TXT_BYTES_MAX].decode(errors="replace")
        parts = _local_address(text)
        if parts is not None and parts.peer is not None:
            peers.add(parts.peer)
            found.append(text)
    if len(peers) != 1:
        raise MalformedError("its records name no peer with a local address, or several")
    (peer,) = peers
    to_libp2p(peer)
    return Neighbour(peer, tuple(dict.fromkeys(found))[:ADDRESSES_MAX], now_s)


def _local_address(text: str) -> addresses.TcpAddress | None:
    try:
        parts = addresses.parse(text)
    except MalformedError:
        return None
    return parts if parts.is_local and parts.port else None
