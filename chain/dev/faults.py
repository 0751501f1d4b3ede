"""What the development chain's JSON-RPC interface answers when it does not do what was asked."""

from __future__ import annotations

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
"""go-ethereum's code for everything that the chain itself refuses."""
TIMED_OUT = -32002
LIMIT_EXCEEDED = -32005
"""EIP-1474: the request is too large or comes too often."""
REVERTED = 3
"""go-ethereum's code for a call that ended in REVERT; ``data`` has what the contract returned."""


class RpcFault(Exception):  # noqa: N818 - an answer to a client, not a failure of the chain
    """The error object of one JSON-RPC answer.

    Attributes:
        code: JSON-RPC error code.
        message: for people, in go-ethereum's wording where it has one.
        data: hex of the revert data, or None.
    """

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def to_json(self) -> dict[str, object]:
        """Return the ``error`` member of the answer."""
        found: dict[str, object] = {"code": self.code, "message": self.message}
        return found if self.data is None else {**found, "data": self.data}


class CallTimeoutError(Exception):
    """A read-only execution took longer than it may."""
