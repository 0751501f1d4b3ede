"""The running node: nested nurseries, so that it stops in the reverse of the order it started in.

::

    lock the home, open the database and the identity
      infrastructure: blocks, search index, decoder pool, denylist
        network: libp2p host and what it serves
          features: playback, dialling, daily backup
            listeners: the local API

SIGINT and SIGTERM stop it: no new requests, a second for the ones under way, then inwards out.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import SystemRandom

import trio
from starlette.types import ASGIApp

from marina import __version__
from marina.clock import Clock, SystemClock
from marina.errors import MalformedError, NotFoundError
from marina.ids import PeerId
from marina.metrics import Registry
from marina.retry import Backoff
from marina.secret import Secret
from node.api.app import build_app
from node.api.metrics import ApiMetrics
from node.api.origin import OriginPolicy
from node.api.router import Router
from node.api.routes_car import CarRoutes
from node.api.routes_chain import ChainRoutes
from node.api.routes_control import ControlRoutes
from node.api.routes_dao import DaoRoutes
from node.api.routes_editions import EditionRoutes
from node.api.routes_gateway import GatewayRoutes
from node.api.routes_guardian import GuardianRoutes
from node.api.routes_health import HealthRoutes
from node.api.routes_ipfs import IpfsRoutes
from node.api.routes_keys import KeyRoutes
from node.api.routes_listening import ListeningRoutes
from node.api.routes_market import MarketRoutes
from node.api.routes_moderation import ModerationRoutes
from node.api.routes_music import MusicRoutes
from node.api.routes_page import PageRoutes
from node.api.routes_publish import PublishRoutes
from node.api.routes_purchase import PurchaseRoutes
from node.api.routes_selling import SellingRoutes
from node.api.routes_session import SessionRoutes
from node.api.routes_wallet import WalletRoutes
from node.api.server import ApiAddress, ApiServer
from node.api.sessions import OneTimeCodes, Sessions
from node.api.token_file import TokenFile
from node.api.tokens import TokenAuthority
from node.canary import LoopCanary
from node.checks import register_checks
from node.fuse import light_fuse
from node.services import Services, build_services
from node.settings import Settings
from p2p import addresses
from storage.backup import create_backup
from storage.backup_schedule import DailyBackup
from storage.identity.owner import Owner
from storage.identity.private_file import read_private, write_private
from storage.lock import HomeLock
from storage.migrations import open_database
from storage.paths import Home

log = logging.getLogger("marina.node")
API_KEY_FILE = "api.key"
REDIAL = Backoff(base_s=5.0, cap_s=120.0, tries_max=12)
PEERS_WANTED = 4
_STOP_S = 4.0
_OWNER_ONLY = 0o077
"""For the files that the database and the search index make themselves."""
_GRACE_S = 0.3
"""For the reply to the request that asked to stop, and for others that are nearly done."""
_FUSE_S = 4.6
"""The whole stop; the parts have deadlines of their own, which could add up to more."""


async def run_daemon(
    *,
    home: Home,
    settings: Settings,
    passphrase: Secret[str] | None,
    on_ready: Callable[[Running], None],
    clock: Clock | None = None,
) -> None:
    """Run a node until SIGINT, SIGTERM or its API asks it to stop.

    Args:
        home: an initialised home.
        settings: all settings.
        passphrase: opens the vault; None runs the node locked: it serves ciphertext and plays, and
            refuses to sign and to read private data until it is unlocked.
        on_ready: told once everything runs.
        clock: the time.

    Raises:
        HomeInUseError: another daemon runs on this home.
        WrongPassphraseError, StorageError, ListenError, UsageError: with what to do.
    """
    clock = clock or SystemClock()
    home.check()
    os.umask(_OWNER_ONLY)
    with HomeLock(home.daemon_lock):
        owner = await trio.to_thread.run_sync(lambda: Owner.open(home.root, clock=clock))
        if passphrase is not None:
            await trio.to_thread.run_sync(owner.unlock, passphrase)
        store = await open_database(home.meta, home.backups, clock=clock)
        try:
            services = build_services(
                home=home, settings=settings, clock=clock, registry=Registry(), store=store, owner=owner
            )
            await _Daemon(services).run(on_ready)
        finally:
            with trio.CancelScope(deadline=trio.current_time() + _STOP_S, shield=True):
                await store.close()


class Running:
    """A node that runs.

    Attributes:
        services: all of it.
        api: where the local API listens.
        codes: for one-time links to the player.
    """

    def __init__(self, services: Services, api: ApiAddress, codes: OneTimeCodes) -> None:
        self.services = services
        self.api = api
        self.codes = codes


class _Daemon:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._stop = trio.Event()
        self._started_s = trio.current_time()

    async def run(self, on_ready: Callable[[Running], None]) -> None:
        services = self._services
        await services.blocks.open()
        if not services.owner.is_locked:
            await services.private.unlock()
        try:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async with trio.open_nursery() as outer:
                    outer.start_soon(self._stop_on, signals)
                    async with _infrastructure(services), _network(services), self._features(services):
                        await self._serve(services, on_ready)
                    outer.cancel_scope.cancel()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + _STOP_S, shield=True):
                await services.blocks.close()
        log.info("stopped")

    async def _stop_on(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if self._stop.is_set():
                log.warning("told to stop again: ending at once")
                os._exit(130)
            log.info("stopping", extra={"context": {"signal": signal.Signals(number).name}})
            self._stop.set()

    @asynccontextmanager
    async def _features(self, services: Services) -> AsyncIterator[None]:
        backup = DailyBackup(
            directory=services.home.backups,
            create=lambda path: create_backup(
                path,
                home=services.home.root,
                store=services.store,
                owner=services.owner,
                clock=services.clock,
            ),
            clock=services.clock,
            keep=services.settings.storage.backups_kept,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(services.jobs.run)
            await nursery.start(services.discovery.run)
            await nursery.start(services.search_server.run)
            await nursery.start(services.replication.run)
            await nursery.start(services.playback.run)
            await nursery.start(services.chain.run)
            await nursery.start(services.ledger.run)
            await nursery.start(services.keys.run)
            await nursery.start(services.guardian.run)
            await nursery.start(services.moderation.run)
            await nursery.start(services.selling.watch.run)
            await nursery.start(services.copies.run)
            await nursery.start(services.ipfs.run)
            await nursery.start(services.gateway.run)
            await nursery.start(backup.run)
            nursery.start_soon(_keep_dialling, services)
            yield
            nursery.cancel_scope.cancel()

    async def _serve(self, services: Services, on_ready: Callable[[Running], None]) -> None:
        tokens = TokenAuthority(
            key=await trio.to_thread.run_sync(_api_key, services.home),
            node_id=services.host.peer_id,
            store=services.store,
            clock=services.clock,
        )
        await tokens.load()
        codes = OneTimeCodes(clock=services.clock)
        router = self._router(services, tokens, codes)
        metrics = ApiMetrics(services.registry)

        def make_app(policy: OriginPolicy) -> ASGIApp:
            return build_app(
                router=router, tokens=tokens, policy=policy, clock=services.clock, metrics=metrics
            )

        server = ApiServer(
            make_app=make_app, settings=services.settings.api, unix_path=services.home.root / "api.sock"
        )
        canary = LoopCanary(registry=services.registry)
        register_checks(services, canary)
        address_file = services.home.daemon_address
        async with trio.open_nursery() as nursery:
            await nursery.start(TokenFile(path=services.home.api_token, tokens=tokens).run)
            api: ApiAddress = await nursery.start(server.run)
            services.host.forbid_dial("127.0.0.1", api.port)
            nursery.start_soon(canary.run)
            facts = {
                "url": api.url,
                "pid": os.getpid(),
                "peer": services.host.peer_id,
                "version": __version__,
            }
            await trio.to_thread.run_sync(write_private, address_file, json.dumps(facts).encode())
            services.health.mark_ready()
            log.info("ready", extra={"context": {"url": api.url, "peer": services.host.peer_id}})
            on_ready(Running(services, api, codes))
            await self._stop.wait()
            light_fuse(_FUSE_S)
            services.health.mark_ready(False)
            address_file.unlink(missing_ok=True)
            server.stop()
            await trio.sleep(_GRACE_S)
            nursery.cancel_scope.cancel()

    def _router(self, services: Services, tokens: TokenAuthority, codes: OneTimeCodes) -> Router:
        router, succession = Router(), trio.Lock()
        ticket_key = Secret(secrets.token_bytes(32))
        router.include(
            PageRoutes(),
            HealthRoutes(health=services.health, registry=services.registry),
            SessionRoutes(tokens=tokens, codes=codes, sessions=Sessions(tokens=tokens, codes=codes)),
            MusicRoutes(services=services, ticket_key=ticket_key),
            PublishRoutes(services=services, succession=succession),
            SellingRoutes(services=services, succession=succession),
            ControlRoutes(services=services, stop=self._stop.set, started_s=self._started_s),
            KeyRoutes(services=services),
            WalletRoutes(chain=services.chain),
            MarketRoutes(chain=services.chain, library=services.library, assurer=services.assurer),
            PurchaseRoutes(chain=services.chain, owner=services.owner, clock=services.clock),
            ListeningRoutes(
                why=services.why, assurer=services.assurer, chain=services.chain, library=services.library
            ),
            EditionRoutes(chain=services.chain, library=services.library),
            ChainRoutes(chain=services.chain),
            GuardianRoutes(chain=services.chain, guardian=services.guardian, owner=services.owner),
            DaoRoutes(chain=services.chain, shared=services.shared),
            ModerationRoutes(moderation=services.moderation),
            CarRoutes(services=services),
            IpfsRoutes(services=services),
            GatewayRoutes(services=services),
        )
        return router


@asynccontextmanager
async def _infrastructure(services: Services) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(services.blocks.run)
        await nursery.start(services.index.run)
        await nursery.start(services.audio.run)
        await nursery.start(services.denylist.run)
        await services.moderation.load()
        await services.library.load()
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _network(services: Services) -> AsyncIterator[None]:
    services.chunk_server.attach(services.host)
    services.block_server.attach(services.host)
    services.bitswap.attach(services.host)
    async with trio.open_nursery() as nursery:
        await nursery.start(services.bans.run)
        await nursery.start(services.host.run)
        await nursery.start(services.bitswap.run)
        yield
        with trio.move_on_after(0.5):
            await services.chunk_client.close()
            await services.releases.close()
        nursery.cancel_scope.cancel()


async def _keep_dialling(services: Services) -> None:
    """Reach the bootstrap nodes whenever few peers are connected; anchors have their own keeper."""
    bootstrap: list[tuple[PeerId, tuple[str, ...]]] = []
    for text in services.settings.swarm.bootstrap:
        try:
            parts = addresses.parse(text)
        except MalformedError as err:
            log.warning("a bootstrap address is left out: %s", err)
            continue
        if parts.peer is not None:
            bootstrap.append((parts.peer, (text,)))
    while bootstrap:
        for pause_s in REDIAL.delays(SystemRandom()):
            if len(services.host.connected_peers()) < PEERS_WANTED:
                await services.swarm.dial_all(bootstrap)
            await trio.sleep(5.0 + pause_s)


def _api_key(home: Home) -> Secret[bytes]:
    """Return the key that signs API tokens: random, readable by the owner only, made at first use.

    It lies beside the vault and not in it, because a locked node must still tell its owner so.
    """
    path = home.root / API_KEY_FILE
    try:
        key = read_private(path, limit_bytes=64)
    except NotFoundError:
        key = b""
    if len(key) != 32:
        key = secrets.token_bytes(32)
        write_private(path, key)
    return Secret(key)
