"""What happens to a release once it is signed: it is listed here and told to the swarm."""

from __future__ import annotations

from node.library import Target
from node.reachable import shareable_addresses
from node.services import Services
from p2p.releases import FetchedRelease
from storage.content.track import HINT_ADDRESSES_MAX, ProviderHint
from storage.publish.models import Published


async def announce(services: Services, published: Published) -> None:
    """List a release of this owner in the catalogue and announce it with all its renditions.

    Operators who keep the version before are asked to keep this one too.
    """
    signed, tracks = published.signed, published.tracks
    await services.library.add(FetchedRelease(signed, tracks, None), is_mine=True, is_local=True)
    roots = [each.layout.root for _, track in tracks for each in track.renditions]
    await services.discovery.released(signed, roots, published.retired)
    release = signed.release
    await services.ipfs.published(release.release_id, None if release.withdrawn else signed.cid)
    if not signed.release.withdrawn and signed.release.previous is not None:
        await services.replication.follow(signed.release.previous, Target(signed, tracks, None))


def own_hints(services: Services) -> tuple[ProviderHint, ...]:
    """Return this node as the first provider of what it publishes."""
    own = shareable_addresses(services.host.listen_addrs)
    return (ProviderHint(services.host.peer_id, own[:HINT_ADDRESSES_MAX]),)
