"""Errors of everything that speaks to peers.

::

    MarinaError
    ├── NetworkError
    │   └── P2PError                 a peer or its connection failed; ends that peer's work only
    │       ├── DialError            no address of the peer answered
    │       ├── StreamRefusedError   the peer does not speak the protocol or has no room
    │       ├── PeerGoneError        the stream or connection ended before the transfer did
    │       ├── PeerStalledError     the peer sent or took nothing within its deadline
    │       ├── PeerMisbehavedError  the peer broke a protocol rule; counts towards a ban
    │       ├── PeerBannedError      the peer is banned here
    │       └── LimitReachedError    one of this node's own limits is reached
    └── UsageError
        └── ListenError              the node cannot listen where it was told to
"""

from __future__ import annotations

from marina.errors import NetworkError, UsageError


class P2PError(NetworkError):
    """A peer or its connection failed."""

    code = "peer"


class DialError(P2PError):
    """No address of the peer answered as that peer."""

    code = "dial"


class StreamRefusedError(P2PError):
    """The peer does not speak the protocol, or has no room for another stream."""

    code = "stream_refused"


class PeerGoneError(P2PError):
    """The stream or its connection ended before the transfer did."""

    code = "peer_gone"


class PeerStalledError(P2PError):
    """The peer sent or took nothing within its deadline."""

    code = "peer_stalled"


class PeerMisbehavedError(P2PError):
    """The peer broke a protocol rule; the score book counts it."""

    code = "peer_misbehaved"
    is_retriable = False


class PeerBannedError(P2PError):
    """The peer is banned on this node for now."""

    code = "peer_banned"
    is_retriable = False


class LimitReachedError(P2PError):
    """One of this node's own limits is reached."""

    code = "limit_reached"


class ListenError(UsageError):
    """The node cannot listen where it was told to."""

    code = "listen"
