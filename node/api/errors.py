"""What the local API refuses, each with its HTTP status.

::

    MarinaError
    ├── UsageError
    │   ├── BadRequestError          400
    │   ├── MethodNotAllowedError    405
    │   ├── BodyTooLargeError        413
    │   ├── UnsupportedMediaError    415
    │   └── HeadersTooLargeError     431
    ├── NotFoundError
    │   └── NoSuchRouteError         404
    ├── NotPermittedError
    │   ├── UnauthenticatedError     401
    │   ├── ForeignOriginError       403
    │   ├── ScopeNeededError         403
    │   └── MisdirectedHostError     421
    └── NetworkError
        ├── RequestTimeoutError      408
        ├── RateLimitedError         429
        └── OverloadedError          503
"""

from __future__ import annotations

from marina.errors import MarinaError, NetworkError, NotFoundError, NotPermittedError, UsageError


class BadRequestError(UsageError):
    """The body, the query or a header does not follow the format."""

    code = "bad_request"


class MethodNotAllowedError(UsageError):
    """The path exists, not with this method."""

    code = "method_not_allowed"
    http_status = 405

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method[:16]} is not possible here: use {' or '.join(allowed)}")
        self.allowed = allowed


class BodyTooLargeError(UsageError):
    """The body is above the limit."""

    code = "body_too_large"
    http_status = 413


class UnsupportedMediaError(UsageError):
    """A change that is not declared as JSON: the only kind that browsers do not send across sites."""

    code = "unsupported_media_type"
    http_status = 415


class HeadersTooLargeError(UsageError):
    """The headers are above the limit."""

    code = "headers_too_large"
    http_status = 431


class NoSuchRouteError(NotFoundError):
    """Nothing is served under this path."""

    code = "no_such_route"


class UnauthenticatedError(NotPermittedError):
    """No token, or one that does not hold.

    Attributes:
        is_guess: the token was wrong, not merely missing or expired; counts as a failed try.
    """

    code = "unauthenticated"
    http_status = 401

    def __init__(self, message: str, *, is_guess: bool = False) -> None:
        super().__init__(message)
        self.is_guess = is_guess


class ForeignOriginError(NotPermittedError):
    """Another web site's page sent this request."""

    code = "foreign_origin"


class ScopeNeededError(NotPermittedError):
    """The token does not carry the scope of this route."""

    code = "scope_needed"

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__(
            f"this needs a token with the scope {' or '.join(scopes)}: make one with "
            f"'marina token create --scope {scopes[0]}'"
        )
        self.scopes = scopes


class MisdirectedHostError(NotPermittedError):
    """The Host header names something else than this node: a rebound DNS name, or a wrong address."""

    code = "misdirected_host"
    http_status = 421


class RequestTimeoutError(NetworkError):
    """The body did not arrive in time."""

    code = "request_timeout"
    http_status = 408


class RateLimitedError(NetworkError):
    """Too many requests.

    Attributes:
        retry_after_s: when the next one is let in.
    """

    code = "rate_limited"
    http_status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(NetworkError):
    """As many requests as allowed are being answered."""

    code = "overloaded"
    http_status = 503


def error_headers(err: MarinaError) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to an error's status."""
    if isinstance(err, RateLimitedError):
        return [(b"retry-after", str(err.retry_after_s).encode())]
    if isinstance(err, OverloadedError):
        return [(b"retry-after", b"1")]
    if isinstance(err, MethodNotAllowedError):
        return [(b"allow", ", ".join(err.allowed).encode())]
    if isinstance(err, UnauthenticatedError):
        return [(b"www-authenticate", b'Bearer realm="marina"')]
    return []
