"""Builds every service of a node, in layer order: the only place with concrete classes."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.ids import PeerId
from marina.metrics import Registry
from marina.secret import Secret
from node.chain.adopted import AdoptedList
from node.chain.moderation import Moderation
from node.chain.service import ChainService
from node.chain.shared_blocks import SharedBlocks
from node.discovery import Discovery
from node.downloads import Downloads
from node.fetch_ledger import FetchLedger
from node.gateway.answers import Gateway
from node.gateway.limits import GatewayLimits, Turnstile
from node.gateway.service import GatewayService
from node.guardian.service import GuardianService
from node.healing import ReleaseHealer
from node.health import HealthMonitor
from node.ipfs.pairing import IpfsPairing
from node.ipfs.wiring import build_pairing, kubo_address
from node.jobs import Jobs
from node.keys.assurance import Assurer
from node.keys.desk import KeyDesk, build_key_desk
from node.library import Library
from node.naming import BlockNames
from node.playback import Playback
from node.providers import SwarmProviders
from node.reachable import shareable_addresses
from node.replication import Keeper, Replication, identity_of
from node.selling.build import Selling, build_selling
from node.selling.copies import KeyboxCopies
from node.settings import Settings
from node.swarm import Swarm
from node.swarm_search import SwarmSearch, local_hits
from node.why import Why
from p2p.bans import BanKeeper
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.exchange import Bitswap
from p2p.bitswap.server import BitswapServer
from p2p.block_exchange import BlockClient, BlockServer
from p2p.chunk.client import ChunkClient, download_pacer
from p2p.chunk.server import ChunkServer, upload_pacer
from p2p.config import ChunkConfig, HostConfig
from p2p.denylist import Denylist
from p2p.host import Host
from p2p.metrics import P2PMetrics
from p2p.peer_blocks import PeerBlocks
from p2p.releases import ReleaseFetcher
from p2p.search.server import SearchServer
from storage.audio.sandbox import AudioSandbox, SandboxSettings
from storage.blocks.embedded import EmbeddedBlockStore
from storage.blocks.indexed import IndexedBlockStore
from storage.identity.owner import Owner
from storage.kubo.rpc import KuboRpc
from storage.kubo.store import KuboBlockStore
from storage.kv import LevelKv, Table
from storage.library.catalog import Catalog
from storage.library.search import SearchIndex
from storage.paths import Home
from storage.private import PrivateStore
from storage.publish.journal import Journal
from storage.publish.keyboxes import Keyboxes
from storage.publish.mending import Mender
from storage.publish.paid import PaidJournal
from storage.publish.publisher import Publisher
from storage.publish.renditions import RenditionSealer
from storage.publish.tracks import TrackMaker
from storage.quota import Quota
from storage.repo import Repo

SEAL_THREADS = 2
DECODERS = min(4, os.cpu_count() or 1)
"""Processes that decode and encode, and so tracks that are published at once."""


@dataclass(slots=True)
class Services:
    """Every service of one node."""

    home: Home
    settings: Settings
    clock: Clock
    registry: Registry
    store: LevelKv
    owner: Owner
    private: PrivateStore
    blocks: IndexedBlockStore
    repo: Repo
    catalog: Catalog
    index: SearchIndex
    audio: AudioSandbox
    publisher: Publisher
    denylist: Denylist
    host: Host
    bans: BanKeeper
    swarm: Swarm
    chunk_client: ChunkClient
    chunk_server: ChunkServer
    block_server: BlockServer
    bitswap: Bitswap
    releases: ReleaseFetcher
    library: Library
    healer: ReleaseHealer
    names: BlockNames
    providers: SwarmProviders
    downloads: Downloads
    playback: Playback
    ledger: FetchLedger
    keys: KeyDesk
    guardian: GuardianService
    assurer: Assurer
    why: Why
    selling: Selling
    copies: KeyboxCopies
    search: SwarmSearch
    search_server: SearchServer
    discovery: Discovery
    keeper: Keeper
    replication: Replication
    chain: ChainService
    ipfs: IpfsPairing
    gateway: GatewayService
    shared: SharedBlocks
    moderation: Moderation
    jobs: Jobs
    health: HealthMonitor

    def traffic(self, direction: str) -> float:
        """Return payload bytes ``sent`` to or ``received`` from peers since the start."""
        return self.registry.get_sample_value(f"marina_p2p_chunk_{direction}_bytes_total") or 0.0


def build_services(
    *, home: Home, settings: Settings, clock: Clock, registry: Registry, store: LevelKv, owner: Owner
) -> Services:
    """Return the services of a node, none of them running."""
    blocks = _block_store(home, settings, clock, store)
    catalog = Catalog(store, clock=clock)
    index = SearchIndex(home.search, catalog)
    audio = AudioSandbox(settings=SandboxSettings(workers=DECODERS))
    publisher = _publisher(home, clock, store, owner, blocks, audio)

    metrics = P2PMetrics(registry)
    denylist = Denylist(path=Path(settings.operator.denylist) if settings.operator.denylist else None)
    host = Host(
        seed=Secret(bytes(owner.device.seed.reveal())),
        clock=clock,
        config=HostConfig(listen_addrs=settings.swarm.listen),
        metrics=metrics,
    )
    chunk_config = ChunkConfig(
        upload_bytes_per_s=settings.swarm.upload_cap_bytes_per_s,
        download_bytes_per_s=settings.swarm.download_cap_bytes_per_s,
    )
    identity = identity_of(owner, clock)
    discovery = Discovery(
        host=host, store=store, pins=blocks.pins, identity=identity, settings=settings.swarm, clock=clock,
        registry=registry,
    )  # fmt: skip
    swarm = Swarm(host=host, anchors=discovery.anchors, finder=discovery.finder)
    upload, download = upload_pacer(chunk_config, clock), download_pacer(chunk_config, clock)
    client = ChunkClient(host=host, clock=clock, config=chunk_config, metrics=metrics, pacer=download)

    def is_denied(cid: Cid) -> bool:
        release_cid, release_id, account = swarm.owner_of(cid)
        cids = [cid] if release_cid is None else [cid, release_cid]
        track = swarm.track_of(cid)
        tracks = [] if track is None else [track]
        return denylist.reason(cids=cids, tracks=tracks, release=release_id, account=account) is not None

    def corrupt(peer: PeerId, what: str) -> None:
        host.supervisor.corrupt(peer, "block", what)

    bitswap = BitswapClient(host=host)
    peer_blocks = PeerBlocks(host=host, blocks=BlockClient(host=host), bitswap=bitswap)
    releases = ReleaseFetcher(blocks=blocks, client=peer_blocks, peers=swarm, corrupt=corrupt)
    library = Library(
        catalog=catalog, index=index, blocks=blocks, fetcher=releases, swarm=swarm, clock=clock,
        account=owner.account,
    )  # fmt: skip
    providers = SwarmProviders(
        host=host, client=client, bitswap=bitswap, finder=swarm, release_of=swarm.release_of
    )
    private = PrivateStore(kv=store, deks_path=home.deks, masters=owner.vault)
    ledger = FetchLedger(private=private, clock=clock)
    downloads = Downloads(blocks=blocks, source=providers, lease=blocks.pins.lease, watching=ledger.watching)
    discovery.heard = library.heard
    keeper = Keeper(
        blocks=blocks, library=library, downloads=downloads, swarm=swarm, discovery=discovery,
        denylist=denylist, clock=clock,
    )  # fmt: skip
    chain = ChainService(
        settings=settings.chain, spend=settings.spend, home=home.root, store=store, owner=owner, clock=clock
    )
    keys = build_key_desk(
        owner=owner, chain=chain, private=private, store=store, library=library, block=releases.block,
        host=host, swarm=swarm, finder=discovery.finder, clock=clock,
    )  # fmt: skip
    shared = SharedBlocks(
        blocks=blocks, pins=blocks.pins, fetch=releases.block, announce=discovery.provides, clock=clock
    )
    healer = ReleaseHealer(blocks=blocks, catalog=catalog, library=library)
    guardian = GuardianService(
        host=host,
        owner=owner,
        chain=chain,
        store=store,
        publish=shared.publish,
        clock=clock,
        registry=registry,
    )
    keys.line.own = guardian
    return Services(
        home=home,
        settings=settings,
        clock=clock,
        registry=registry,
        store=store,
        owner=owner,
        private=private,
        blocks=blocks,
        repo=Repo(blocks),
        catalog=catalog,
        index=index,
        audio=audio,
        publisher=publisher,
        denylist=denylist,
        host=host,
        bans=BanKeeper(scores=host.scores, table=Table(store, "bans"), clock=clock),
        swarm=swarm,
        chunk_client=client,
        chunk_server=ChunkServer(
            source=blocks,
            clock=clock,
            is_denied=is_denied,
            config=chunk_config,
            metrics=metrics,
            pacer=upload,
        ),
        block_server=BlockServer(source=blocks, clock=clock, is_denied=is_denied),
        bitswap=Bitswap(
            server=BitswapServer(
                host=host,
                source=blocks,
                clock=clock,
                is_denied=is_denied,
                pacer=upload,
            ),
            client=bitswap,
            clock=clock,
            pacer=download,
        ),
        releases=releases,
        library=library,
        healer=healer,
        names=BlockNames(blocks=blocks, swarm=swarm),
        providers=providers,
        downloads=downloads,
        playback=Playback(
            blocks=blocks,
            source=providers,
            block=releases.block,
            lease=blocks.pins.lease,
            keys=keys.keyring,
            watching=ledger.watching,
        ),
        ledger=ledger,
        keys=keys,
        guardian=guardian,
        assurer=keys.assurer(blocks=blocks, downloads=downloads, block=releases.block),
        why=Why(
            account=owner.account,
            library=library,
            blocks=blocks,
            ledger=ledger,
            keyring=keys.keyring,
            evidence=keys.evidence,
            chain=chain,
        ),
        selling=build_selling(
            chain=chain,
            keys=keys,
            publisher=publisher,
            library=library,
            block=releases.block,
            host=host,
            owner=owner,
            journal=PaidJournal(store, random=secrets.token_bytes),
            publish=shared.publish,
            clock=clock,
        ),
        copies=KeyboxCopies(
            kept=healer.kept,
            version=library.exact_version,
            anchored=chain.index,
            has=blocks.has,
            fetch=releases.block,
            hold=shared.lease,
            announce=discovery.provides,
        ),
        search=SwarmSearch(host=host, library=library, swarm=swarm),
        search_server=SearchServer(
            host=host,
            search=local_hits(
                library, blocks, is_answering=settings.swarm.answer_searches, is_denied=is_denied
            ),
            denylist=denylist,
            clock=clock,
        ),
        discovery=discovery,
        keeper=keeper,
        replication=Replication(
            host=host,
            store=store,
            owner=owner,
            library=library,
            keeper=keeper,
            client=client,
            swarm=swarm,
            discovery=discovery,
            identity=identity,
            denylist=denylist,
            settings=settings.operator,
            clock=clock,
        ),
        chain=chain,
        ipfs=build_pairing(
            settings=settings.ipfs, store=store, catalog=catalog, host=host, swarm=swarm, clock=clock
        ),
        gateway=GatewayService(
            settings=settings.gateway,
            make=lambda own: Gateway(
                blocks=blocks,
                is_denied=is_denied,
                peer=host.peer_id,
                addresses=lambda: [*shareable_addresses(host.listen_addrs), *own()],
            ),
            turnstile=Turnstile(
                limits=GatewayLimits(
                    requests_per_s=settings.gateway.requests_per_s,
                    bytes_per_s=settings.gateway.rate_bytes_per_s,
                ),
                clock=clock,
                pacer=upload,
            ),
        ),
        shared=shared,
        moderation=Moderation(
            source=AdoptedList(chain),
            denylist=denylist,
            shared=shared,
            table=Table(store, "moderation"),
            is_followed=settings.operator.follow_dao_list,
            clock=clock,
            rng=SystemRandom(),
        ),
        jobs=Jobs(),
        health=HealthMonitor(clock=clock),
    )


def _block_store(home: Home, settings: Settings, clock: Clock, store: LevelKv) -> IndexedBlockStore:
    quota, address = Quota(settings.storage.quota_bytes), kubo_address(settings.ipfs)
    if settings.storage.backend == "kubo" and address is not None:
        rpc = KuboRpc(address)
        return KuboBlockStore(kv=store, directory=home.blobs, rpc=rpc, quota=quota, clock=clock)
    return EmbeddedBlockStore(kv=store, directory=home.blobs, quota=quota, clock=clock)


def _publisher(
    home: Home, clock: Clock, store: LevelKv, owner: Owner, blocks: IndexedBlockStore, audio: AudioSandbox
) -> Publisher:
    sealer = RenditionSealer(
        blocks=blocks, random=secrets.token_bytes, limiter=trio.CapacityLimiter(SEAL_THREADS)
    )
    maker = TrackMaker(audio=audio, blocks=blocks, pins=blocks.pins, sealer=sealer, staging=home.blobs)
    journal, paid = Journal(store), PaidJournal(store, random=secrets.token_bytes)
    return Publisher(
        owner=owner,
        maker=maker,
        mender=Mender(
            maker=maker, sealer=sealer, blocks=blocks, pins=blocks.pins, journal=journal, paid=paid
        ),
        blocks=blocks,
        pins=blocks.pins,
        journal=journal,
        keyboxes=Keyboxes(blocks=blocks, pins=blocks.pins, paid=paid),
        tracks_at_once=DECODERS,
        clock=clock,
        random=secrets.token_bytes,
    )
