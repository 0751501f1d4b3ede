"""What can go wrong with a Kubo node that is asked for something."""

from __future__ import annotations

from storage.errors import StorageError


class KuboError(StorageError):
    """The Kubo node refused, in its own words."""

    code = "kubo"


class KuboAwayError(KuboError):
    """The Kubo node does not answer; what it was asked for may or may not have happened."""

    code = "kubo_away"
    http_status = 503
