"""Errors of playback."""

from __future__ import annotations

from marina.errors import NetworkError, NotPermittedError


class NobodyHasItError(NetworkError):
    """No peer that answers has a segment that the player needs now."""

    code = "nobody_has_it"


class TicketError(NotPermittedError):
    """The stream address is forged, for another track, or too old."""

    code = "ticket"
