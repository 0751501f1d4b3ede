"""What a person typed: links that are damaged are a slip of the hand, not a fault of a peer."""

from __future__ import annotations

from marina.errors import MalformedError, UsageError
from p2p.links import Link, parse_link


def typed_link(typed: str) -> Link:
    """Return the link that a person typed.

    Raises:
        UsageError: it is damaged; a link of a peer would be malformed, this one can be typed again.
    """
    try:
        return parse_link(typed)
    except MalformedError as err:
        raise UsageError(str(err)) from err
