"""What a member does: each action checks the facts and returns a draft for ``chain.sender``.

A draft costs nothing. The checks give a plain sentence before any gas is spent; the contracts check again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain.accounts import TypedDomain
from chain.artifacts import encode_call
from chain.draft import Draft
from governance.ballot import Ballot, check_reason
from governance.calls import Call, check_proposable, columns, description_hash, proposal_id
from governance.client import Dao
from governance.delegation import delegation_digest
from governance.description import Description
from governance.errors import NotEnoughVotesError, WrongStateError
from governance.listing import ProposalView
from governance.proposal import State
from governance.tally import Support
from governance.treasury import collect_fees
from governance.units import format_duration, format_mmt
from governance.words import render
from marina.errors import UsageError
from marina.ids import Account, account_text
from storage.identity.typed_data import SIGNATURE_BYTES

DELEGATION_VALID_S = 7 * 86_400
"""How long somebody may take to send a signed delegation."""


@dataclass(frozen=True, slots=True)
class SignedDelegation:
    """What a holder signs so that somebody else can send the delegation.

    Attributes:
        to: who will vote.
        nonce: of the holder in the token.
        expiry_s: Unix time until which it can be sent.
        digest: the 32 bytes to sign.
    """

    to: Account
    nonce: int
    expiry_s: int
    digest: bytes


class Actions:
    """Drafts of a member's transactions."""

    def __init__(self, dao: Dao, *, chain_id: int) -> None:
        self._dao = dao
        self._chain_id = chain_id

    def governor_domain(self) -> TypedDomain:
        """Return the EIP-712 domain of votes by signature."""
        return TypedDomain("MarinaGovernor", "1", self._chain_id, self._dao.contracts.governor)

    def token_domain(self) -> TypedDomain:
        """Return the EIP-712 domain of delegations by signature."""
        return TypedDomain("Marina.Moda Token", "1", self._chain_id, self._dao.contracts.token)

    async def delegate(self, account: Account, to: Account) -> Draft:
        """Return the draft that lets somebody vote with all of an account's MMT, itself included.

        Raises:
            UsageError: that is so already.
        """
        standing = await self._dao.standing(account)
        if standing.delegate == to:
            raise UsageError(f"{account_text(to)} votes with these MMT already: nothing to do")
        whom = "yourself" if to == account else account_text(to)
        data = encode_call("MarinaToken", "delegate", bytes(to))
        summary = f"Delegate the votes of {format_mmt(standing.balance)} to {whom}"
        return self._draft(self._dao.contracts.token, data, "dao.delegate", summary, account, to.hex())

    async def propose(self, account: Account, description: Description, calls: Sequence[Call]) -> Draft:
        """Return the draft of a new proposal.

        Raises:
            UsageError: it has no calls, too many, or was made before.
            NotEnoughVotesError: the account votes with less than the threshold.
        """
        check_proposable(calls)
        if description.proposer not in {None, account}:
            raise UsageError(f"the description lets only {account_text(description.proposer)} propose it")
        text = str(description)
        made = proposal_id(calls, description_hash(text))
        if await self._dao.is_known(made):
            raise UsageError("this very proposal was made before: change its title or its calls")
        await self._check_threshold(account)
        lines = render(await self._dao.words(calls))
        data = encode_call("MarinaGovernor", "propose", *columns(calls), text)
        summary = f"Propose “{description.title}”:\n{lines}"
        return self._draft(self._dao.contracts.governor, data, "dao.propose", summary, account, f"{made:x}")

    async def vote(self, account: Account, name: str | int, support: Support, reason: str = "") -> Draft:
        """Return the draft of a vote.

        Raises:
            WrongStateError: voting has not begun, is over, or the account has voted.
            NotEnoughVotesError: the account had no votes at the snapshot.
        """
        view = await self._dao.proposal(name)
        ballot = Ballot(view.id, support, account, check_reason(reason))
        weight = await self._check_voter(view, account)
        summary = f"Vote {_word(support)} on {_title(view)} with {format_mmt(weight)}"
        return self._draft(
            self._dao.contracts.governor, ballot.call_data(), "dao.vote", summary, account, f"{view.id:x}"
        )

    async def ballot(
        self, account: Account, name: str | int, support: Support, reason: str = ""
    ) -> tuple[Ballot, bytes]:
        """Return a vote and the 32 bytes that the voter signs, for somebody else to send.

        Raises:
            WrongStateError, NotEnoughVotesError: as for ``vote``.
        """
        view = await self._dao.proposal(name)
        await self._check_voter(view, account)
        made = Ballot(view.id, support, account, check_reason(reason))
        return made, made.digest(self.governor_domain(), await self._dao.nonce("MarinaGovernor", account))

    async def send_ballot(self, sender: Account, ballot: Ballot, signature: bytes) -> Draft:
        """Return the draft with which a sender brings somebody's signed vote.

        Raises:
            UsageError: the signature has another length than an account's.
            WrongStateError, NotEnoughVotesError: as for ``vote``.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise UsageError(
                f"a signed vote ends in a signature of {SIGNATURE_BYTES} bytes: ask for it again"
            )
        view = await self._dao.proposal(ballot.proposal_id)
        await self._check_voter(view, ballot.voter)
        summary = f"Send the vote {_word(ballot.support)} of {account_text(ballot.voter)} on {_title(view)}"
        key = f"{view.id:x}/{ballot.voter.hex()}"
        data = ballot.signed_call_data(signature)
        return self._draft(self._dao.contracts.governor, data, "dao.vote-signed", summary, sender, key)

    async def delegation(self, account: Account, to: Account) -> SignedDelegation:
        """Return what a holder signs to delegate without paying gas."""
        nonce = await self._dao.nonce("MarinaToken", account)
        expiry_s = await self._dao.now_s() + DELEGATION_VALID_S
        digest = delegation_digest(self.token_domain(), to=to, nonce=nonce, expiry_s=expiry_s)
        return SignedDelegation(to, nonce, expiry_s, digest)

    def send_delegation(self, sender: Account, signed: SignedDelegation, signature: bytes) -> Draft:
        """Return the draft with which a sender brings somebody's signed delegation.

        Raises:
            UsageError: the signature has another length than an account's.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise UsageError(
                f"a signed delegation needs a signature of {SIGNATURE_BYTES} bytes: ask for it again"
            )
        data = encode_call(
            "MarinaToken", "delegateBySig", bytes(signed.to), signed.nonce, signed.expiry_s,
            signature[64], signature[:32], signature[32:64],
        )  # fmt: skip
        summary = f"Send a signed delegation to {account_text(signed.to)}"
        return self._draft(
            self._dao.contracts.token, data, "dao.delegate-signed", summary, sender, signed.digest.hex()
        )

    async def queue(self, account: Account, name: str | int) -> Draft:
        """Return the draft that queues a carried proposal in the timelock; anybody may send it.

        Raises:
            WrongStateError: the proposal is not carried, or queued already.
        """
        view = await self._in_state(name, State.SUCCEEDED, "queued")
        return self._act("queue", "Queue", view, account)

    async def execute(self, account: Account, name: str | int) -> Draft:
        """Return the draft that executes a queued proposal whose time has come; anybody may send it.

        Raises:
            WrongStateError: the proposal is not queued, or its time has not come.
        """
        view = await self._in_state(name, State.QUEUED, "executed")
        if not view.is_executable:
            wait = format_duration(view.eta_s - view.now_s)
            raise WrongStateError(f"the timelock holds {_title(view)} for another {wait}: try again then")
        return self._act("execute", "Execute", view, account)

    async def cancel(self, account: Account, name: str | int) -> Draft:
        """Return the draft with which the proposer takes a proposal back before the vote.

        Raises:
            WrongStateError: the vote has begun, or the account did not propose it.
        """
        view = await self._in_state(name, State.PENDING, "canceled")
        if view.proposal.proposer != account:
            who = account_text(view.proposal.proposer)
            raise WrongStateError(f"only {who}, who proposed it, can cancel {_title(view)}")
        return self._act("cancel", "Cancel", view, account)

    def collect_fees(self, account: Account, token: Account | None) -> Draft:
        """Return the draft that pays the DAO's collected fees out to the treasury; anybody may send it."""
        call = collect_fees(token, self._dao.contracts)
        key = (token or bytes(20)).hex()
        return self._draft(
            call.target, call.data, "dao.collect", "Pay the DAO's fees out to the treasury", account, key
        )

    async def _in_state(self, name: str | int, state: State, verb: str) -> ProposalView:
        view = await self._dao.proposal(name)
        if view.state is not state:
            raise WrongStateError(
                f"{_title(view)} is {view.state.word}: only a proposal that is {state.word} can be {verb}"
            )
        return view

    async def _check_threshold(self, account: Account) -> None:
        threshold = await self._dao.threshold()
        votes = await self._dao.past_votes(account, await self._dao.now_s() - 1)
        if votes < threshold:
            raise NotEnoughVotesError(
                f"a proposal needs {format_mmt(threshold)} of votes and {account_text(account)} has "
                f"{format_mmt(votes)}: ask holders to delegate to you, or delegate your own MMT to yourself"
            )

    async def _check_voter(self, view: ProposalView, account: Account) -> int:
        """Return the weight that an account votes with."""
        if view.state is State.PENDING:
            wait = format_duration(view.proposal.snapshot_s + 1 - view.now_s)
            raise WrongStateError(f"the vote on {_title(view)} begins in {wait}")
        if view.state is not State.ACTIVE:
            raise WrongStateError(f"the vote on {_title(view)} is over: it is {view.state.word}")
        if await self._dao.has_voted(view.id, account):
            raise WrongStateError(f"{account_text(account)} has voted on {_title(view)}: votes are final")
        weight = await self._dao.past_votes(account, view.proposal.snapshot_s)
        if not weight:
            raise NotEnoughVotesError(
                f"{account_text(account)} had no votes when the vote on {_title(view)} began: "
                "delegate before the next proposal"
            )
        return weight

    def _act(self, function: str, verb: str, view: ProposalView, account: Account) -> Draft:
        data = encode_call("MarinaGovernor", function, view.id)
        summary = f"{verb} {_title(view)}"
        return self._draft(
            self._dao.contracts.governor, data, f"dao.{function}", summary, account, f"{view.id:x}"
        )

    def _draft(
        self, to: Account, data: bytes, what: str, summary: str, account: Account, about: str
    ) -> Draft:
        key = f"{what}/{self._chain_id}/{account.hex()}/{about}"
        return Draft(to=to, data=data, value=0, what=what, summary=summary, key=key)


def _title(view: ProposalView) -> str:
    number = f"proposal {view.number}" if view.number else f"proposal {view.id:#x}"
    description = view.description
    return f"{number} “{description.title}”" if description is not None else number


def _word(support: Support) -> str:
    return {Support.FOR: "for", Support.AGAINST: "against", Support.ABSTAIN: "abstain"}[support]
