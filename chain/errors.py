"""What goes wrong between a node and a chain, each with its exit code.

::

    NetworkError
    ├── ChainUnavailableError     7   no endpoint answers
    └── EndpointsDisagreeError    7   two endpoints tell different chains
    NotPermittedError
    ├── WrongChainError           5   an endpoint is of another chain
    └── SpendingLimitError        5   more than the owner's limits allow
    LicenceNeededError
    └── InsufficientFundsError    6   the account does not hold it
    MarinaError
    ├── RpcError                  1   the endpoint refused the request
    ├── RevertedError             1   a contract refused the call
    └── TransactionFailedError    1   mined, and failed
"""

from __future__ import annotations

from collections.abc import Sequence

from marina.errors import LicenceNeededError, MarinaError, NetworkError, NotPermittedError


class ChainUnavailableError(NetworkError):
    """No endpoint answers now; nothing was sent, or it will be found again."""

    code = "chain_unavailable"


class EndpointsDisagreeError(NetworkError):
    """Independent endpoints tell different things about one block."""

    code = "endpoints_disagree"


class WrongChainError(NotPermittedError):
    """An endpoint serves another chain than the configured one."""

    code = "wrong_chain"


class SpendingLimitError(NotPermittedError):
    """The owner's limit for one thing or for a day would be passed."""

    code = "spending_limit"


class InsufficientFundsError(LicenceNeededError):
    """The account does not hold what the transaction needs."""

    code = "insufficient_funds"


class RpcError(MarinaError):
    """An endpoint understood the request and refused it.

    Attributes:
        rpc_code: JSON-RPC error code.
        message: the endpoint's words, cleaned and bounded.
        data: revert data, or None.
        is_alone: whether no other endpoint can have taken the same request before.
    """

    code = "rpc"
    is_alone = True

    def __init__(self, rpc_code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(f"the chain's endpoint refused: {message}")
        self.rpc_code = rpc_code
        self.message = message
        self.data = data


class RevertedError(MarinaError):
    """A contract refuses the call; no money moved.

    Attributes:
        reason: why, in words.
        name: the custom error's name, ``Error``, ``Panic``, or empty when nothing was said.
        args: its arguments.
    """

    code = "reverted"
    http_status = 409

    def __init__(self, reason: str, *, name: str = "", args: Sequence[object] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = name
        self.arguments = tuple(args)


class TransactionFailedError(MarinaError):
    """A transaction was mined and failed, or can never be mined."""

    code = "transaction_failed"
    http_status = 409
