"""Single requests of the Kademlia protocol over ``Host``: one stream, one answer, one deadline.

The message format is libp2p's kad-DHT protobuf with a varint length in front.
Source: libp2p specification, kad-dht, "RPC messages".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.peer.peerstore import env_to_send_in_RPC
from libp2p.utils.varint import encode_uvarint
from multiaddr import Multiaddr

from marina.errors import MalformedError
from marina.ids import PeerId
from p2p import addresses
from p2p.errors import PeerStalledError
from p2p.host import Host
from p2p.peerid import from_libp2p, to_libp2p
from p2p.repairs_kad import MESSAGE_BYTES_MAX, PROTOCOL
from p2p.stream import MarinaStream

PEERS_PER_REPLY_MAX = 20
ADDRESSES_PER_PEER_MAX = 4
_VARINT_BYTES_MAX = 4


@dataclass(frozen=True, slots=True)
class Known:
    """A peer by somebody's word: its addresses are claims until one answers as this peer."""

    peer: PeerId
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProvidersReply:
    """What one peer knows of a key: its providers, and peers nearer to it."""

    providers: tuple[Known, ...]
    closer: tuple[Known, ...]


async def ask_providers(host: Host, target: Known, key: bytes, timeout_s: float) -> ProvidersReply:
    """Return what a peer knows of a key, at most twenty of each.

    Raises:
        P2PError: it cannot be reached, refuses or stalls.
        MalformedError: its answer is none.
    """
    reply = await _call(host, target, _message(host, Message.MessageType.GET_PROVIDERS, key), timeout_s)
    return ProvidersReply(_read(reply.providerPeers), _read(reply.closerPeers))


async def add_provider(host: Host, target: Known, key: bytes, timeout_s: float) -> None:
    """Make this node known as a provider of a key; returns when the peer has confirmed.

    Raises:
        P2PError: the peer cannot be reached, refuses or stalls.
        MalformedError: its answer is none, or for another key.
    """
    message = _message(host, Message.MessageType.ADD_PROVIDER, key)
    provider = message.providerPeers.add()
    provider.id = to_libp2p(host.peer_id).to_bytes()
    provider.addrs.extend(each.to_bytes() for each in own_addresses(host))
    reply = await _call(host, target, message, timeout_s)
    if reply.key != key:
        raise MalformedError("the peer confirmed another key than was provided")


def own_addresses(host: Host) -> list[Multiaddr]:
    """Return where this node listens, without its peer id."""
    found = []
    for text in host.listen_addrs:
        parts = addresses.parse(text)
        found.append(Multiaddr(f"/{parts.kind}/{parts.host}/tcp/{parts.port}"))
    return found[:ADDRESSES_PER_PEER_MAX]


def _message(host: Host, kind: Message.MessageType, key: bytes) -> Message:
    message = Message()
    message.type = kind
    message.key = key
    message.senderRecord, _ = env_to_send_in_RPC(host.raw)
    return message


async def _call(host: Host, target: Known, message: Message, timeout_s: float) -> Message:
    with trio.move_on_after(timeout_s):
        await host.dial(target.peer, target.addresses)
        async with await host.open_stream(target.peer, str(PROTOCOL)) as stream:
            data = message.SerializeToString()
            await stream.write(encode_uvarint(len(data)) + data)
            reply = await _read_message(stream)
        if reply.type != message.type:
            raise MalformedError("the DHT peer answered another question")
        return reply
    raise PeerStalledError(f"the DHT peer did not answer within {timeout_s:g} s")


async def _read_message(stream: MarinaStream) -> Message:
    length = shift = 0
    for _ in range(_VARINT_BYTES_MAX):
        (byte,) = await stream.read_exact(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    else:
        raise MalformedError("the DHT message's length is too long")
    if length > MESSAGE_BYTES_MAX:
        raise MalformedError(f"a DHT message has at most {MESSAGE_BYTES_MAX} bytes, not {length}")
    message = Message()
    try:
        message.ParseFromString(await stream.read_exact(length))
    except MalformedError:
        raise
    except (ValueError, TypeError) as err:  # protobuf's DecodeError is a ValueError
        raise MalformedError("the DHT message is not protobuf of the protocol") from err
    return message


def _read(peers: Sequence[Message.Peer]) -> tuple[Known, ...]:
    found: dict[PeerId, Known] = {}
    for each in list(peers)[:PEERS_PER_REPLY_MAX]:
        try:
            peer = from_libp2p(ID(each.id))
            to_libp2p(peer)
            texts = [_text(data) for data in list(each.addrs)[:ADDRESSES_PER_PEER_MAX]]
        except MalformedError:
            continue  # one bad entry does not spoil the rest of the answer
        found.setdefault(peer, Known(peer, tuple(text for text in texts if text)))
    return tuple(found.values())


def _text(data: bytes) -> str:
    """Return the multiaddress text of bytes, empty for what is no TCP address."""
    if len(data) > 256:
        return ""
    try:
        return str(addresses.parse(str(Multiaddr(data))))
    except Exception:  # noqa: BLE001 - the multiaddr library raises its own, struct's and Unicode errors
        return ""
