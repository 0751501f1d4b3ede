"""What an endpoint means when it does not take a signed transaction.

JSON-RPC has no codes for it, so the words decide: those of geth, erigon, nethermind, besu, anvil and the
development chain. Words that are not known decide nothing: the transaction is followed on.
"""

from __future__ import annotations

from enum import Enum

from chain.errors import RpcError


class Refusal(Enum):
    """Why it was not taken, as one sentence for people."""

    KNOWN = "it is there already"
    OUTBID = "another pending transaction of the account has its place and offers more: it waits for that one"
    TAKEN = "its place is taken by another transaction of the account: it is signed anew once that is settled"
    FEE_LOW = "blocks ask for a higher network fee by now: more is offered"
    FULL = "the endpoint's pool is full: it is sent again"
    POOR = "the account does not hold the amount and the network fee: send it some coins and try again"
    FEE_HIGH = "the endpoint takes no transaction whose fee may be so high: set another in chain.endpoints"
    NEVER = "no block can take it"
    UNCLEAR = "it was not taken yet"

    @property
    def is_final(self) -> bool:
        """Whether the same bytes would be refused again, whatever time passes."""
        return self in {Refusal.POOR, Refusal.FEE_HIGH, Refusal.NEVER}


_WORDS = (
    (
        Refusal.KNOWN,
        ("already known", "alreadyknown", "known transaction", "already imported", "already exists"),
    ),
    (
        Refusal.OUTBID,
        ("replacement transaction", "replacement fee", "could not replace", "replacementnotallowed"),
    ),
    (Refusal.TAKEN, ("nonce too low", "nonce is too low", "oldnonce", "old nonce", "invalid nonce")),
    (Refusal.FEE_HIGH, ("exceeds the configured cap",)),
    (
        Refusal.FEE_LOW,
        (
            *(
                "underpriced",
                "less than block base fee",
                "below current base fee",
                "feetoolow",
                "fee too low",
            ),
            *("tip too low", "gas price too low"),
        ),
    ),
    (Refusal.FULL, ("pool is full", "pool overflow", "mempool is full")),
    (
        Refusal.POOR,
        (
            "insufficient funds",
            "insufficientfunds",
            "insufficient balance",
            "upfront cost exceeds",
            "overdraft",
        ),
    ),
    (
        Refusal.NEVER,
        (
            *(
                "intrinsic gas",
                "block gas limit",
                "gaslimitexceeded",
                "gas limit too high",
                "initcode",
                "oversized",
            ),
            *("chain id", "chainid", "invalid sender", "invalid signature", "not an eoa", "floor data gas"),
        ),
    ),
)


def refusal(err: RpcError) -> Refusal:
    """Return what an endpoint meant."""
    words = err.message.lower()
    return next(
        (kind for kind, all_words in _WORDS if any(each in words for each in all_words)), Refusal.UNCLEAR
    )


def sentence(err: RpcError) -> str:
    """Return it for people, with the endpoint's own words where they say more."""
    kind = refusal(err)
    if kind in {Refusal.NEVER, Refusal.UNCLEAR, Refusal.FEE_HIGH}:
        return f"{kind.value} ({err.message})"
    return str(kind.value)
