"""Links that this node hands out: a release and where it is to be had."""

from __future__ import annotations

from ipaddress import ip_address

from marina.ids import TrackId
from node.library import Target
from node.services import Services
from p2p import addresses
from p2p.links import LinkProvider, make_link, qr_text


def share_link(services: Services, target: Target) -> dict[str, object]:
    """Return the link of a target with its QR code, JSON-ready.

    This node is the first provider; peers known to have the release follow.
    """
    own = shareable_addresses(services.host.listen_addrs)
    providers = [LinkProvider(services.host.peer_id, own)]
    providers += [
        LinkProvider(peer, known)
        for peer, known in services.swarm.known_providers(target.signed.cid)
        if known
    ]
    track = TrackId(target.track.track_id) if target.track else None
    link = make_link(target.signed.cid, providers, track=track)
    try:
        code = qr_text(link)
    except ValueError:
        code = ""
    return {
        "link": link,
        "qr": code,
        "title": target.track.title if target.track else target.signed.release.title,
        "addresses": list(own),
        "is_loopback_only": all(_is_loopback(each) for each in own),
    }


def shareable_addresses(listen: list[str]) -> tuple[str, ...]:
    """Return addresses for others, loopback only if there is nothing else."""
    far = [each for each in listen if not _is_loopback(each)]
    return tuple(far or listen)


def _is_loopback(address: str) -> bool:
    host = addresses.parse(address).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
