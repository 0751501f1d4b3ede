"""The development chain: one operator makes a block of every transaction at once.

Rules: Prague's EVM; chain id 31337; blocks of at most 30,000,000 gas; the base fee follows EIP-1559 from
1 gwei, and since nearly all blocks are nearly empty it soon lies at its floor of 8 wei. State of every block
is kept for ever (tries are never pruned). No consensus, no peers, no re-orgs, no pool.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from eth.exceptions import HeaderNotFound, TransactionNotFound
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from eth_utils import ValidationError

from chain.dev.admission import check_against_state, decode_transaction
from chain.dev.clock import ChainClock
from chain.dev.faults import INVALID_PARAMS, REFUSED, RpcFault
from chain.dev.params import BlockRef
from chain.dev.store import EvmDatabase, Store
from chain.dev.vm import DevChain, DevVm, make_genesis
from marina.clock import Clock

if TYPE_CHECKING:
    from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI, StateAPI

GAS_LIMIT = 30_000_000
GENESIS_BASE_FEE_WEI = 10**9
BLOCKS_AT_ONCE_MAX = 1000
COIN_WEI = 10**18
FAUCET_COINS = 10**12
_FAUCET_KEY = "faucet_key"
log = logging.getLogger("marina.chain.dev")


class Engine:
    """One chain on one open store. Synchronous; called by one thread at a time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        funded: dict[bytes, int] | None = None,
        predeploy: Callable[[Engine], None] | None = None,
    ) -> None:
        """Take the collaborators; ``open`` does the work.

        Args:
            store: opened by the caller, who closes it.
            clock: the machine's.
            funded: base units that accounts have in the first block, beside the faucet.
            predeploy: runs once on a new chain, with the engine, and sends the first transactions.
        """
        self._store = store
        self._funded = funded or {}
        self._predeploy = predeploy
        self._database = EvmDatabase(store)
        self._chain: DevChain | None = None
        self.clock = ChainClock(clock=clock, store=store)
        self._wall = clock
        self._is_genesis = False

    def open(self) -> None:
        """Open the chain that the store has, or begin one.

        The first block and everything ``predeploy`` sends are one transaction of the store: a kill in
        between leaves an empty store.

        Raises:
            StorageError, DamagedError: the disk failed.
        """
        if self._store.note(_FAUCET_KEY) is not None:
            self._chain = DevChain(self._database)
            return
        with self._store.transaction():
            self._begin()

    @property
    def store(self) -> Store:
        """The chain's database."""
        return self._store

    @property
    def database(self) -> EvmDatabase:
        """The store as py-evm sees it."""
        return self._database

    @property
    def chain(self) -> DevChain:
        """py-evm's chain; RuntimeError before ``open``."""
        if self._chain is None:
            raise RuntimeError("the chain is not open")
        return self._chain

    def head(self) -> BlockHeaderAPI:
        """Return the header of the last block."""
        return self.chain.get_canonical_head()

    def header(self, ref: BlockRef) -> BlockHeaderAPI | None:
        """Return the header of a block, None if there is no such block.

        ``safe``, ``finalized`` and ``pending`` are the latest block: nothing is ever taken back or waiting.
        """
        try:
            if ref.block_hash is not None:
                return self.chain.get_block_header_by_hash(ref.block_hash)
            if ref.number is not None:
                return self.chain.get_canonical_block_header_by_number(ref.number)
        except HeaderNotFound:
            return None
        if ref.tag == "earliest":
            return self.chain.get_canonical_block_header_by_number(0)
        return self.head()

    def block(self, header: BlockHeaderAPI) -> BlockAPI:
        """Return the whole block of a header."""
        return self.chain.get_block_by_header(header)

    def receipts(self, header: BlockHeaderAPI) -> Sequence[ReceiptAPI]:
        """Return the receipts of a block: none or one."""
        found: Sequence[ReceiptAPI] = self.chain.chaindb.get_receipts(header, DevVm.get_receipt_builder())
        return found

    def find_transaction(self, transaction_hash: bytes) -> tuple[SignedTransactionAPI, BlockHeaderAPI] | None:
        """Return a mined transaction and its block's header, None if there is none."""
        try:
            number, index = self.chain.get_canonical_transaction_index(transaction_hash)
        except TransactionNotFound:
            return None
        header = self.chain.get_canonical_block_header_by_number(number)
        return self.chain.get_canonical_transaction_by_index(number, index), header

    def state_at(self, header: BlockHeaderAPI) -> StateAPI:
        """Return a fresh view of the state after a block, with the block's own surroundings."""
        return self.chain.get_vm(header).state

    def send(self, raw: bytes, *, also: Callable[[], None] | None = None) -> bytes:
        """Execute a signed transaction in a block of its own and return its hash.

        A transaction that reverts is mined too, with status 0.

        Args:
            raw: the encoded transaction.
            also: changes the store too, in the same transaction of the store.

        Raises:
            RpcFault: it is refused; nothing has changed.
            StorageError: the disk failed; nothing has changed.
        """
        transaction = decode_transaction(raw)
        if self.find_transaction(transaction.hash) is not None:
            raise RpcFault(REFUSED, "already known")
        if self._is_genesis:
            self._mine_checked(transaction)
        else:
            with self._store.transaction():
                self._mine_checked(transaction)
                if also is not None:
                    also()
        return bytes(transaction.hash)

    def mine(self, blocks: int) -> None:
        """Make empty blocks.

        Raises:
            RpcFault: none, or more than ``BLOCKS_AT_ONCE_MAX``.
        """
        if not 1 <= blocks <= BLOCKS_AT_ONCE_MAX:
            raise RpcFault(INVALID_PARAMS, f"1 to {BLOCKS_AT_ONCE_MAX} blocks can be mined at once")
        with self._store.transaction():
            for _ in range(blocks):
                self._mine(self._next_header(), ())

    def travel(self, seconds: int) -> int:
        """Move the chain's time forward and return how far ahead of the clock it is, in seconds."""
        with self._store.transaction():
            return self.clock.travel(seconds)

    def choose_timestamp(self, timestamp_s: int) -> None:
        """Fix the next block's time; RpcFault if it is before the last block's."""
        with self._store.transaction():
            self.clock.choose(timestamp_s, self.head().timestamp)

    def now_s(self) -> int:
        """Return the time that a block made now would have."""
        return self.clock.next_s(self.head().timestamp)

    def faucet_key(self) -> bytes:
        """Return the private key of the account that gives test coins away; it never leaves the chain."""
        key = self._store.note(_FAUCET_KEY)
        if key is None:
            raise RuntimeError("the chain is not open")
        return key

    def _begin(self) -> None:
        key = PrivateKey(secrets.token_bytes(32))
        faucet = key.public_key.to_canonical_address()
        self._chain = make_genesis(
            self._database,
            {faucet: FAUCET_COINS * COIN_WEI, **self._funded},
            {
                "gas_limit": GAS_LIMIT,
                "timestamp": self._wall.now_s(),
                "base_fee_per_gas": GENESIS_BASE_FEE_WEI,
                "extra_data": b"marina development chain",
            },
        )
        self._store.set_note(_FAUCET_KEY, key.to_bytes())
        if self._predeploy is not None:
            self._is_genesis = True
            try:
                self._predeploy(self)
            finally:
                self._is_genesis = False

    def _mine_checked(self, transaction: SignedTransactionAPI) -> None:
        header = self._next_header()
        check_against_state(transaction, self.state_at(self.head()), header.base_fee_per_gas)
        self._mine(header, (transaction,))

    def _next_header(self) -> BlockHeaderAPI:
        head = self.head()
        return self.chain.create_header_from_parent(
            head,
            timestamp=self.clock.next_s(head.timestamp),
            gas_limit=GAS_LIMIT,
            # PREVRANDAO: nobody's choice, and another one in each block.
            mix_hash=keccak(head.hash),
            extra_data=b"",
        )

    def _mine(self, base: BlockHeaderAPI, transactions: Sequence[SignedTransactionAPI]) -> None:
        chain = self.chain
        machine = chain.get_vm(base)
        try:
            header, receipts, _ = machine.apply_all_transactions(transactions, base)
        except ValidationError as err:
            raise RpcFault(REFUSED, str(err)) from err
        filled = machine.set_block_transactions_and_withdrawals(
            machine.get_block(), header, transactions, receipts
        )
        # Built here by the rules, so it is not validated again: that would double the time of each block.
        block = machine.finalize_block(machine.pack_block(filled)).block
        chain.chaindb.persist_block(block)
        self._index_logs(block, receipts)
        self.clock.used()

    def _index_logs(self, block: BlockAPI, receipts: Sequence[ReceiptAPI]) -> None:
        rows: list[tuple[Any, ...]] = []
        for transaction, receipt in zip(block.transactions, receipts, strict=True):
            for entry in receipt.logs:
                topics = [topic.to_bytes(32) for topic in entry.topics]
                padded = topics + [None] * (4 - len(topics))
                rows.append(
                    (
                        block.number,
                        len(rows),
                        entry.address,
                        *padded,
                        entry.data,
                        transaction.hash,
                        block.hash,
                    )
                )
        if rows:
            self._store.add_logs(rows)
