"""The DAO as the chain has it: proposals with their state, members' votes, parameters, the treasury.

It only reads; what changes something is a draft of ``governance.actions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from chain.amount import Currency
from chain.contracts import ContractSet
from chain.errors import RevertedError
from chain.events import parse_bytes
from governance.abi import decode_answer, encode_view, parse_wei
from governance.calls import Call, description_hash
from governance.delegation import Standing
from governance.effect import Effect, try_calls
from governance.errors import UnknownProposalError
from governance.glossary import Glossary, Line
from governance.history import Caller, block_time_s, executed_calls, find_description
from governance.listing import NUMBER_MAX, ProposalView, parse_name
from governance.parameters import PARAMETERS, Parameter, Value
from governance.proposal import Proposal, State
from governance.tally import Tally
from governance.together import together
from governance.treasury import NOBODY, Holding, Payment, payments
from governance.units import MMT_DECIMALS
from governance.words import describe_calls
from marina.ids import Account, account_text

LIST_MAX = 50
"""Most proposals read at once."""
_FIRST_DELAY_S = 86_400
"""Voting delay at the deployment (MarinaGovernor.INITIAL_DELAY_SECONDS)."""


_PROPOSAL_VIEWS = (
    "state",
    "proposalSnapshot",
    "proposalDeadline",
    "proposalEta",
    "proposalProposer",
    "proposalVotes",
)


class Reader(Protocol):
    """The part of ``chain.reader.ContractReader`` that governance needs."""

    @property
    def contracts(self) -> ContractSet:
        """Where the contracts are."""
        ...

    async def read(self, name: str, function: str, *args: object) -> Any:
        """Return what a view answers; RevertedError if it refuses."""
        ...

    async def read_at(self, address: Account, name: str, function: str, *args: object) -> Any:
        """Return what a view of a contract elsewhere with the same interface answers."""
        ...


class Descriptions(Protocol):
    """Where the texts of proposals come from: the chain's index, if there is one."""

    async def description(self, proposal_id: int) -> str | None:
        """Return the raw text of a proposal, None if it is not known."""
        ...


class Dao:
    """Reads the DAO of one chain."""

    def __init__(
        self,
        *,
        reader: Reader,
        rpc: Caller,
        coin: Currency,
        tokens: Mapping[Account, Currency] | None = None,
        descriptions: Descriptions | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            reader: of the contracts.
            rpc: of the same chain.
            coin: the chain's own.
            tokens: ERC-20 tokens that the node trusts to be what they say.
            descriptions: the chain's index; without it texts are looked up in the log.
        """
        self._reader = reader
        self._rpc = rpc
        self._coin = coin
        self._tokens = dict(tokens or {})
        self._descriptions = descriptions

    @property
    def contracts(self) -> ContractSet:
        """Where the contracts are."""
        return self._reader.contracts

    async def now_s(self) -> int:
        """Return the time of the newest block: what the contracts go by, not this machine's clock."""
        return await block_time_s(self._rpc, "latest")

    async def count(self) -> int:
        """Return how many proposals there are."""
        return int(await self._reader.read("MarinaGovernor", "proposalCount"))

    async def proposals(self, *, offset: int = 0, limit: int = 20) -> tuple[ProposalView, ...]:
        """Return proposals, the newest first.

        Args:
            offset: how many of the newest to leave out.
            limit: at most this many, never more than 50.
        """
        newest = await self.count() - offset
        numbers = range(newest, max(0, newest - min(limit, LIST_MAX)), -1)
        return tuple(await together([partial(self._view_of_number, n) for n in numbers]))

    async def proposal(self, name: str | int) -> ProposalView:
        """Return one proposal.

        Args:
            name: its number from 1 (``3`` or ``#3``), or the governor's id, decimal or as 0x and hex digits.

        Raises:
            UsageError: the name is neither.
            UnknownProposalError: there is no such proposal.
        """
        wanted = parse_name(name) if isinstance(name, str) else name
        if wanted < NUMBER_MAX:
            if not 0 < wanted <= await self.count():
                raise UnknownProposalError(f"there is no proposal {wanted}: see 'marina dao list'")
            return await self._view_of_number(wanted)
        try:
            details = await self._reader.read("MarinaGovernor", "proposalDetails", wanted)
        except RevertedError as err:
            raise UnknownProposalError(f"there is no proposal {wanted}: see 'marina dao list'") from err
        return await self._view(0, wanted, details)

    async def standing(self, account: Account) -> Standing:
        """Return what an account holds and votes with now."""
        balance, delegate, votes = await self._read_all(
            ("MarinaToken", "balanceOf", bytes(account)),
            ("MarinaToken", "delegates", bytes(account)),
            ("MarinaToken", "getVotes", bytes(account)),
        )
        return Standing(account, int(balance), Account(delegate), int(votes))

    async def past_votes(self, account: Account, time_s: int) -> int:
        """Return what an account voted with at the end of a past second."""
        return int(await self._reader.read("MarinaToken", "getPastVotes", bytes(account), time_s))

    async def has_voted(self, proposal_id: int, account: Account) -> bool:
        """Return whether an account voted on a proposal."""
        return bool(await self._reader.read("MarinaGovernor", "hasVoted", proposal_id, bytes(account)))

    async def is_known(self, proposal_id: int) -> bool:
        """Return whether the governor has a proposal of this id."""
        return bool(await self._reader.read("MarinaGovernor", "proposalSnapshot", proposal_id))

    async def threshold(self) -> int:
        """Return how many base units of votes a proposal needs to be made."""
        return int(await self._reader.read("MarinaGovernor", "proposalThreshold"))

    async def quorum(self) -> int:
        """Return how many base units of votes a vote needs that began a second ago."""
        return int(await self._reader.read("MarinaGovernor", "quorum", await self.now_s() - 1))

    async def nonce(self, contract: str, account: Account) -> int:
        """Return the number of an account's next signed message to the governor or the token."""
        return int(await self._reader.read(contract, "nonces", bytes(account)))

    async def parameters(self) -> dict[str, Value]:
        """Return every parameter that the DAO sets, by key."""
        values = await together([partial(self._parameter, each) for each in PARAMETERS])
        return {each.key: value for each, value in zip(PARAMETERS, values, strict=True)}

    async def glossary(self) -> Glossary:
        """Return what the words about a proposal may use, the present parameters among it."""
        return Glossary(self.contracts, self._coin, self._tokens, await self.parameters())

    async def words(self, calls: Sequence[Call]) -> tuple[Line, ...]:
        """Return calls in words, beside the present values of what they change."""
        return describe_calls(calls, await self.glossary())

    async def effect(self, calls: Sequence[Call]) -> Effect:
        """Return what calls would do if the DAO made them now (see ``governance.effect``)."""
        return await try_calls(self._rpc, calls, await self.glossary())

    async def treasury(self) -> tuple[Holding, ...]:
        """Return what the treasury holds of the coin, of MMT and of every known token."""
        mmt = Currency("MMT", MMT_DECIMALS, self.contracts.token)
        others = [each for token, each in self._tokens.items() if token != self.contracts.token]
        return tuple(await together([partial(self._holding, each) for each in (self._coin, mmt, *others)]))

    async def payments(self, *, first_block: int) -> tuple[Payment, ...]:
        """Return what was paid from the treasury since a block; errors of ``executed_calls``."""
        return payments(await executed_calls(self._rpc, self.contracts, first_block=first_block))

    async def _parameter(self, parameter: Parameter) -> Value:
        # Not by the reader: web3 finds no view by name alone when it has overloads (quorumNumerator).
        fields = {
            "to": account_text(self.contracts.named()[parameter.contract]),
            "data": "0x" + encode_view(parameter.contract, parameter.getter).hex(),
        }
        answer = parse_bytes(await self._rpc.call("eth_call", [fields, "latest"]), parameter.title)
        value: Value = decode_answer(parameter.contract, parameter.getter, answer, count=0)[0]
        return value

    async def _holding(self, currency: Currency) -> Holding:
        timelock = self.contracts.timelock
        if currency.token is None:
            held = parse_wei(await self._rpc.call("eth_getBalance", [account_text(timelock), "latest"]))
        else:
            held = await self._reader.read_at(currency.token, "MarinaToken", "balanceOf", bytes(timelock))
        token = currency.token if currency.token is not None else NOBODY
        waiting = await self._reader.read("MusicLicensing", "owed", bytes(timelock), bytes(token))
        return Holding(currency, int(held), int(waiting))

    async def _view_of_number(self, number: int) -> ProposalView:
        found = await self._reader.read("MarinaGovernor", "proposalDetailsAt", number - 1)
        return await self._view(number, int(found[0]), found[1:])

    async def _view(self, number: int, proposal_id: int, details: Sequence[Any]) -> ProposalView:
        targets, values, payloads, hashed = details
        calls = tuple(
            Call(Account(target), value, payload)
            for target, value, payload in zip(targets, values, payloads, strict=True)
        )
        governor = "MarinaGovernor"
        state, snapshot, deadline, eta, proposer, votes = await self._read_all(
            *((governor, each, proposal_id) for each in _PROPOSAL_VIEWS)
        )
        now_s = await self.now_s()
        text = await self._description(proposal_id, snapshot)
        proposal = _proposal(calls, hashed, Account(proposer), (snapshot, deadline), text)
        quorum = 0
        if now_s > snapshot:
            quorum = int(await self._reader.read(governor, "quorum", snapshot))
        return ProposalView(number, proposal, State(state), Tally(*votes), quorum, int(eta), now_s)

    async def _description(self, proposal_id: int, snapshot_s: int) -> str | None:
        if self._descriptions is not None:
            return await self._descriptions.description(proposal_id)
        delay_s = int(await self._reader.read("MarinaGovernor", "votingDelay"))
        return await find_description(
            self._rpc,
            self.contracts,
            proposal_id,
            snapshot_s=snapshot_s,
            delays_s=(delay_s, _FIRST_DELAY_S),
        )

    async def _read_all(self, *views: tuple[Any, ...]) -> list[Any]:
        return await together([partial(self._reader.read, *view) for view in views])


def _proposal(
    calls: tuple[Call, ...], hashed: bytes, proposer: Account, times_s: tuple[int, int], text: str | None
) -> Proposal:
    """Return the proposal; a text that is not the one that was proposed is left out."""
    if text is not None and description_hash(text) != hashed:
        text = None
    return Proposal(calls, hashed, proposer, *times_s, text)
