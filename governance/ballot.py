"""Votes by signature: a member signs, anybody sends and pays the gas.

Source: OpenZeppelin Contracts 5, Governor.castVoteBySig and castVoteWithReasonAndParamsBySig; EIP-712.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.accounts import TypedDomain, typed_digest
from chain.artifacts import encode_call
from governance.tally import Support
from governance.text import REASON_CHARS_MAX, is_clean
from marina.errors import UsageError
from marina.ids import Account
from storage.identity.typed_data import FieldValue

_PLAIN = (("proposalId", "uint256"), ("support", "uint8"), ("voter", "address"), ("nonce", "uint256"))
_EXTENDED = (*_PLAIN, ("reason", "string"), ("params", "bytes"))


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote.

    Attributes:
        proposal_id: what is voted on.
        support: for, against or abstain.
        voter: whose weight counts.
        reason: why, for everybody to read; empty for none.
    """

    proposal_id: int
    support: Support
    voter: Account
    reason: str = ""

    def digest(self, domain: TypedDomain, nonce: int) -> bytes:
        """Return the 32 bytes that the voter signs.

        Args:
            domain: the governor's.
            nonce: ``MarinaGovernor.nonces(voter)``; a ballot can be sent once.
        """
        message: dict[str, FieldValue] = {
            "proposalId": self.proposal_id,
            "support": int(self.support),
            "voter": bytes(self.voter),
            "nonce": nonce,
        }
        if not self.reason:
            return typed_digest(domain, "Ballot", _PLAIN, message)
        return typed_digest(
            domain, "ExtendedBallot", _EXTENDED, {**message, "reason": self.reason, "params": b""}
        )

    def call_data(self) -> bytes:
        """Return the call data of the voter's own transaction."""
        if self.reason:
            return encode_call(
                "MarinaGovernor", "castVoteWithReason", self.proposal_id, int(self.support), self.reason
            )
        return encode_call("MarinaGovernor", "castVote", self.proposal_id, int(self.support))

    def signed_call_data(self, signature: bytes) -> bytes:
        """Return the call data with which anybody sends the signed vote."""
        head = (self.proposal_id, int(self.support), bytes(self.voter))
        if self.reason:
            return encode_call(
                "MarinaGovernor", "castVoteWithReasonAndParamsBySig", *head, self.reason, b"", signature
            )
        return encode_call("MarinaGovernor", "castVoteBySig", *head, signature)


def parse_support(text: str) -> Support:
    """Return what ``for``, ``against`` or ``abstain`` means; UsageError for anything else."""
    words = {
        "for": Support.FOR, "yes": Support.FOR, "against": Support.AGAINST, "no": Support.AGAINST,
        "abstain": Support.ABSTAIN,
    }  # fmt: skip
    support = words.get(text.strip().lower())
    if support is None:
        raise UsageError(f"{text[:40]!r} is no vote: write for, against or abstain")
    return support


def check_reason(reason: str) -> str:
    """Return a reason without blanks around it; UsageError if it is too long or not all visible."""
    reason = reason.strip()
    if len(reason) > REASON_CHARS_MAX or not is_clean(reason):
        raise UsageError(
            f"a reason has at most {REASON_CHARS_MAX} characters, all of them visible: shorten or clean it"
        )
    return reason
