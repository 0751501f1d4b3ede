"""The chain as one part of a node: endpoints, wallet, transactions, index; all of it optional."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import trio

from chain.amount import Amount, Currency, parse_amount
from chain.contracts import ContractSet, Deployment, read_deployment
from chain.draft import Draft
from chain.journal import Journal
from chain.profiles import DEV_ENDPOINT, PROFILES, ChainProfile
from chain.spending import Limits, SpendingGuard
from chain.wallet import Wallet
from marina.clock import Clock
from marina.errors import MarinaError, NetworkError, NotFoundError, UsageError
from marina.ids import Account
from node.chain.confirmations import Confirmations
from node.health import CheckResult, Health
from node.settings import ChainSettings, SpendSettings
from storage.identity.owner import Owner
from storage.identity.private_file import write_private
from storage.kv import KeyValueStore

if TYPE_CHECKING:
    # A node without a chain loads nothing of this: 17 MB of an idle daemon.
    from trio_typing import TaskStatus

    from chain.gateway import Gateway
    from chain.indexer import Indexer
    from chain.market.buying import Buying
    from chain.market.currencies import Currencies
    from chain.market.editions import Editions
    from chain.market.indexed import IndexedTerms
    from chain.market.offers import Offers
    from chain.market.selling import Selling
    from chain.reader import ContractReader
    from chain.rpc import RpcPool
    from chain.sender import Sender
    from chain.tables import ChainTables
    from governance.actions import Actions
    from governance.client import Dao

log = logging.getLogger("marina.node")

NOT_CONFIGURED = (
    "no chain is configured: choose one with 'marina config set chain.profile dev' (or ethereum, polygon, "
    "polygon-amoy) and restart; free music needs none"
)
_LOOK_AGAIN_S = 5.0
_CATCH_UP_S = 8.0


@dataclass(slots=True)
class Money:
    """What pays on a chain, whether Marina's contracts are there or not."""

    profile: ChainProfile
    rpc: RpcPool
    gateway: Gateway
    coin: Currency
    sender: Sender
    journal: Journal
    guard: SpendingGuard


@dataclass(slots=True)
class Chain:
    """Everything that speaks with the contracts of one chain."""

    profile: ChainProfile
    rpc: RpcPool
    gateway: Gateway
    contracts: ContractSet
    reader: ContractReader
    sender: Sender
    journal: Journal
    guard: SpendingGuard
    indexer: Indexer
    tables: ChainTables
    currencies: Currencies
    offers: Offers
    indexed: IndexedTerms
    buying: Buying
    selling: Selling
    editions: Editions
    dao: Dao
    dao_actions: Actions

    async def catch_up(self) -> None:
        """Let the index reach the chain's newest block: what others did a moment ago is then in it.

        Raises:
            NetworkError: the chain does not answer, or the index is far behind.
        """
        await self.indexer.reached(await self.gateway.head(), timeout_s=_CATCH_UP_S)

    async def try_catch_up(self) -> None:
        """Do so if the chain answers; without it what is known is shown."""
        try:
            await self.catch_up()
        except NetworkError as err:
            log.info("shown as the index has it: %s", err)


class ChainService:
    """A node's chain, if it has one, and its wallet, which it always has.

    Attributes:
        on_mined: told when a transaction of this node is in a block.
    """

    def __init__(
        self,
        *,
        settings: ChainSettings,
        spend: SpendSettings,
        home: Path,
        store: KeyValueStore,
        owner: Owner,
        clock: Clock,
    ) -> None:
        self.wallet = Wallet(owner)
        self.confirmations = Confirmations(clock=clock)
        self.journal = Journal(store)
        self.on_mined: Callable[[], None] = lambda: None
        self._settings = settings
        self._spend = spend
        self._home = home
        self._store = store
        self._clock = clock
        self._money: Money | None = None
        self._chain: Chain | None = None
        self._fault = ""

    @property
    def profile(self) -> ChainProfile | None:
        """The configured chain, None for none."""
        return PROFILES.get(self._settings.profile)

    @property
    def contracts_path(self) -> Path:
        """The file that names the contracts, there or not."""
        if self._settings.contracts:
            return Path(self._settings.contracts).expanduser()
        chain_id = self.profile.chain_id if self.profile else 0
        return self._home / "chain" / f"contracts-{chain_id}.json"

    @property
    def has_contracts(self) -> bool:
        """Whether it is known where Marina's contracts are; errors as for ``get``, that one apart."""
        try:
            self.get()
        except NotFoundError:
            return False
        return True

    def money(self) -> Money:
        """Return what pays, also before any contract is known.

        Raises:
            UsageError: no chain is configured, or an endpoint's address is wrong.
        """
        from chain.gateway import Gateway
        from chain.rpc import RpcPool
        from chain.sender import Sender

        if self._money is None:
            profile = self.profile
            if profile is None:
                raise UsageError(NOT_CONFIGURED)
            endpoints = self._settings.endpoints or ((DEV_ENDPOINT,) if profile.name == "dev" else ())
            rpc = RpcPool(endpoints=endpoints, profile=profile, clock=self._clock, rng=SystemRandom())
            gateway, coin = Gateway(rpc), Currency(profile.symbol, 18)
            guard = SpendingGuard(journal=self.journal, limits=self._limits((coin,)), clock=self._clock)
            sender = Sender(
                gateway=gateway,
                journal=self.journal,
                guard=guard,
                signer_for=lambda account: self.wallet.signer("0x" + account.hex()),
                clock=self._clock,
                on_mined=self._mined,
            )
            self._money = Money(profile, rpc, gateway, coin, sender, self.journal, guard)
        return self._money

    def get(self) -> Chain:
        """Return the chain.

        Raises:
            UsageError: none is configured, or its settings are wrong.
            NotFoundError: its contracts are not known.
        """
        if self._chain is None:
            self._chain = self._build()
        return self._chain

    async def reached(self, block: int, *, timeout_s: float) -> None:
        """Return once the index has a block; at once while no contracts are known.

        Raises:
            NetworkError: it had not within the time.
        """
        if self._chain is not None:
            await self._chain.indexer.reached(block, timeout_s=timeout_s)

    def index(self) -> ChainTables | None:
        """Return what the index says; None while no contracts are known."""
        return None if self._chain is None else self._chain.tables

    def name_of(self, address: Account | None) -> str | None:
        """Return which of Marina's contracts has an address."""
        if address is None or self._chain is None:
            return None
        return self._chain.contracts.name_of(address)

    def known_tokens(self) -> dict[Account, Currency]:
        """Return the tokens whose names and decimals were read, by address."""
        return {} if self._chain is None else self._chain.currencies.known()

    def permitted(self, draft: Draft, account: Account) -> Draft:
        """Return a draft whose permit is signed, now that the owner said yes; the draft itself without one.

        Raises:
            VaultLockedError: the vault is locked.
        """
        if draft.permit is None:
            return draft
        return self.get().buying.with_permit(draft, self.wallet.signer("0x" + account.hex()))

    async def keep_contracts(self, made: Deployment) -> Path:
        """Write down where the contracts are, and use them at the next start; return the file."""
        profile = self.money().profile
        text = made.contracts.to_json(profile.chain_id, made.first_block).encode()
        path = self.contracts_path

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, text)

        await trio.to_thread.run_sync(write)
        return path

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the chain until cancelled; nothing at all when none is configured."""
        task_status.started()
        if self.profile is None:
            return
        try:
            money = self.money()
        except MarinaError as err:
            self._say(str(err))  # settings are read at the start: until then the chain is off
            return
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(money.sender.run)
                nursery.start_soon(self._follow)
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 1.0, shield=True):
                await money.rpc.aclose()

    async def check(self) -> CheckResult:
        """Return how the chain is, for people."""
        if self.profile is None:
            return CheckResult(Health.HEALTHY, "no chain is configured; free music needs none")
        if self._fault:
            return CheckResult(Health.DEGRADED, self._fault)
        if self._chain is None:
            return CheckResult(Health.DEGRADED, "the chain is being looked for")
        states = self._chain.rpc.states()
        faults = [f"{each.address} {each.fault}" for each in states if not each.is_well]
        index = self._chain.indexer.state
        if len(faults) == len(states):
            return CheckResult(
                Health.DEGRADED, f"no endpoint of the chain answers ({faults[0]}); what is here plays"
            )
        if index.error is not None:
            return CheckResult(Health.DEGRADED, f"the chain is not followed: {index.error}")
        if faults:
            return CheckResult(Health.DEGRADED, f"one of {len(states)} endpoints fails: {faults[0]}")
        return CheckResult(Health.HEALTHY, f"{self.profile.name} at block {index.head}")

    async def _follow(self) -> None:
        """Index the chain once its contracts are known; the file may come later."""
        while True:
            try:
                chain = self.get()
            except MarinaError as err:
                self._say(str(err))
                await trio.sleep(_LOOK_AGAIN_S)
                continue
            self._fault = ""
            await chain.indexer.run()

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            log.warning("the chain cannot be used: %s", fault)
        self._fault = fault

    def _mined(self, _: int) -> None:
        self.on_mined()
        if self._chain is not None:
            self._chain.indexer.poke()

    def _build(self) -> Chain:
        from chain.dev.genesis import dev_contracts
        from chain.index.handlers import make_indexer, open_index
        from chain.indexer import IndexerConfig
        from chain.market.buying import Buying
        from chain.market.currencies import Currencies
        from chain.market.editions import Editions
        from chain.market.indexed import IndexedTerms
        from chain.market.offers import Offers
        from chain.market.selling import Selling
        from chain.reader import ContractReader
        from chain.tables import ChainTables
        from governance.actions import Actions
        from governance.client import Dao
        from node.chain.descriptions import IndexedDescriptions

        money = self.money()
        rpc, profile = money.rpc, money.profile
        if profile.name == "dev" and not self._settings.contracts and not self.contracts_path.exists():
            made = Deployment(dev_contracts())
        else:
            made = read_deployment(self.contracts_path, profile.chain_id)
        contracts = made.contracts
        reader = ContractReader(rpc=rpc, contracts=contracts)
        currencies = Currencies(reader=reader, profile=profile, on_known=self._limit_spending)
        self._limit_spending((currencies.coin, currencies.mmt))
        index = open_index(self._store, chain_id=profile.chain_id, contracts=contracts)
        follow = IndexerConfig(first_block=made.first_block, poll_s=profile.block_s)
        indexer = make_indexer(rpc, contracts, index, rng=SystemRandom(), config=follow)
        tables = ChainTables(index)
        offers = Offers(reader=reader, currencies=currencies)
        buying = Buying(reader=reader, currencies=currencies, offers=offers, chain_id=profile.chain_id)
        dao = Dao(reader=reader, rpc=rpc, coin=currencies.coin, descriptions=IndexedDescriptions(tables))
        return Chain(
            profile=profile,
            rpc=rpc,
            gateway=money.gateway,
            contracts=contracts,
            reader=reader,
            sender=money.sender,
            journal=self.journal,
            guard=money.guard,
            indexer=indexer,
            tables=tables,
            currencies=currencies,
            offers=offers,
            indexed=IndexedTerms(tables=tables, coin=currencies.coin, clock=self._clock),
            buying=buying,
            selling=Selling(reader=reader, currencies=currencies, offers=offers),
            editions=Editions(reader=reader, currencies=currencies, buying=buying),
            dao=dao,
            dao_actions=Actions(dao, chain_id=profile.chain_id),
        )

    def _limit_spending(self, known: Sequence[Currency]) -> None:
        """Apply the owner's limits to every currency that is known by now."""
        self.money().guard.limits = self._limits(known)

    def _limits(self, known: Sequence[Currency]) -> Limits:
        """Return the limits in these currencies; those in coins of other chains are left out."""
        item, day = (
            tuple(found for text in texts if (found := _limit(text, known)) is not None)
            for texts in (self._spend.item, self._spend.day)
        )
        return Limits(item, day)


def _limit(text: str, known: Sequence[Currency]) -> Amount | None:
    try:
        return parse_amount(text, known, is_zero_allowed=True)
    except UsageError as err:
        log.debug("a spending limit does not concern this chain: %s", err)
        return None
