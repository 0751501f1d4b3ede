"""Rules 2 and 3: who is the request for, and which page sent it. Pure functions over headers.

A web page cannot choose its Host, Origin and Sec-Fetch-Site headers, so these three tell a foreign
page (or a rebound DNS name) from the owner's own programs, which send no Origin at all.
Source: design, security §4; CVE-2018-5702, CVE-2024-28224; Fetch standard; Private Network Access.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.api.errors import ForeignOriginError, HeadersTooLargeError, MisdirectedHostError

RawHeaders = Sequence[tuple[bytes, bytes]]
_SELF_MADE = (b"none", b"same-origin")
"""Sec-Fetch-Site values of a typed address and of the node's own page."""


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """What this node answers to.

    Attributes:
        hosts: exact Host values, lower case.
        origins: exact foreign origins that the owner added, lower case.
        scheme: ``http`` or ``https``.
    """

    hosts: frozenset[bytes]
    origins: frozenset[bytes]
    scheme: bytes = b"http"

    @classmethod
    def for_port(
        cls, port: int, *, hosts: Iterable[str] = (), origins: Iterable[str] = (), scheme: str = "http"
    ) -> OriginPolicy:
        """Return the policy of a node on a port: the three loopback names and what the owner added."""
        own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        return cls(
            frozenset(each.lower().encode() for each in own | set(hosts)),
            frozenset(each.lower().rstrip("/").encode() for each in origins),
            scheme.encode(),
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """What the headers say about the caller.

    Attributes:
        host: the Host header, one of the policy's.
        origin: the Origin header when it is one the owner added; None for own pages and programs.
    """

    host: bytes
    origin: bytes | None


def header(headers: RawHeaders, name: bytes) -> bytes | None:
    """Return the value of a header that may occur once.

    Raises:
        HeadersTooLargeError: it occurs more often.
    """
    values = [value for key, value in headers if key.lower() == name]
    if len(values) > 1:
        raise HeadersTooLargeError(f"the header {name.decode()} occurs {len(values)} times")
    return values[0] if values else None


def check_caller(policy: OriginPolicy, headers: RawHeaders) -> Caller:
    """Return who calls, if the request is meant for this node and no foreign page sent it.

    Raises:
        MisdirectedHostError: Host is missing, doubled or not one of this node's names.
        ForeignOriginError: Origin or Sec-Fetch-Site names another site.
    """
    hosts = [value.lower() for key, value in headers if key.lower() == b"host"]
    if len(hosts) != 1 or hosts[0] not in policy.hosts:
        raise MisdirectedHostError(
            "this node is not known by that name: open it as 127.0.0.1, or add the name to api.hosts"
        )
    origins = [value.lower() for key, value in headers if key.lower() == b"origin"]
    if origins:
        return _check_origin(policy, hosts[0], origins)
    sites = [value.lower() for key, value in headers if key.lower() == b"sec-fetch-site"]
    if any(site not in _SELF_MADE for site in sites):
        raise ForeignOriginError("a page of another site may not call this node")
    return Caller(hosts[0], None)


def _check_origin(policy: OriginPolicy, host: bytes, origins: list[bytes]) -> Caller:
    if origins == [policy.scheme + b"://" + host]:
        return Caller(host, None)
    if len(origins) == 1 and origins[0] in policy.origins:
        return Caller(host, origins[0])
    raise ForeignOriginError(
        "a page of another site may not call this node: its owner can add the site to api.origins"
    )


def cors_headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a listed origin's page read the reply; never with credentials."""
    return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]


def preflight_headers(origin: bytes, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the answer to a listed origin's preflight."""
    allowed = [
        *cors_headers(origin),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
        (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
        (b"access-control-max-age", b"600"),
    ]
    if header(headers, b"access-control-request-private-network") == b"true":
        allowed.append((b"access-control-allow-private-network", b"true"))
    return allowed
