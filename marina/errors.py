"""Every error that a user can meet, each with its exit code.

The tree (packages add their own leaves in ``<package>/errors.py``)::

    MarinaError                exit 1   something failed
    ├── UsageError             exit 2   the request itself is wrong
    ├── DaemonNotRunningError  exit 3
    ├── NotFoundError          exit 4
    ├── NotPermittedError      exit 5   locked vault, missing scope, denylist
    ├── LicenceNeededError     exit 6
    ├── NetworkError           exit 7   nobody answered in time
    ├── DamagedError           exit 8   some of it is damaged or missing
    └── MalformedError         exit 1   bytes that do not follow their format

A message says what happened and what to do about it. A cause is kept with ``raise … from``.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_INTERRUPTED = 130


class MarinaError(Exception):
    """Base of all expected failures.

    Attributes:
        exit_code: what the command line returns (docs/cli.md).
        code: stable machine word, used in API error bodies.
        http_status: what the local API answers.
        is_retriable: the same request may succeed later without any change.
    """

    exit_code = 1
    code = "failed"
    http_status = 500
    is_retriable = False


class UsageError(MarinaError):
    """The request is wrong and repeating it cannot help."""

    exit_code = 2
    code = "usage"
    http_status = 400


class DaemonNotRunningError(MarinaError):
    """The command needs the daemon and none answers for this home."""

    exit_code = 3
    code = "daemon_not_running"
    http_status = 503


class NotFoundError(MarinaError):
    """No such track, release, block, peer or record."""

    exit_code = 4
    code = "not_found"
    http_status = 404


class NotPermittedError(MarinaError):
    """The vault is locked, the passphrase is wrong, or a rule forbids it."""

    exit_code = 5
    code = "not_permitted"
    http_status = 403


class LicenceNeededError(MarinaError):
    """The content is not free and no valid licence is held."""

    exit_code = 6
    code = "licence_needed"
    http_status = 402


class NetworkError(MarinaError):
    """A peer or service did not answer, answered badly, or went away."""

    exit_code = 7
    code = "network"
    http_status = 504
    is_retriable = True


class DamagedError(MarinaError):
    """Part of what was asked for is damaged, missing or degraded."""

    exit_code = 8
    code = "damaged"
    http_status = 500


class MalformedError(MarinaError):
    """Bytes from a peer or a file that do not follow their format."""

    code = "malformed"
    http_status = 400
