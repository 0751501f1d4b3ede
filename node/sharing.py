"""Links that this node hands out: a release and where it is to be had."""

from __future__ import annotations

from marina.ids import TrackId
from node.library import Target
from node.reachable import is_loopback_address, shareable_addresses
from node.services import Services
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
        "is_loopback_only": all(is_loopback_address(each) for each in own),
    }
