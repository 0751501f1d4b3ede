"""Keeps ``api.token`` fresh: the file by which the command line shows that it is the owner's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from node.api.errors import UnauthenticatedError
from node.api.scopes import Scope
from node.api.tokens import CLI_SUBJECT, TokenAuthority
from storage.errors import StorageError
from storage.identity.private_file import write_private

if TYPE_CHECKING:
    from trio_typing import TaskStatus

LOOK_EVERY_S = 20.0
"""Also the longest time a revoked or, after a clock step, unfit token stays in the file."""
RENEW_AFTER_S = 5 * 60.0
log = logging.getLogger("marina.node.api")


class TokenFile:
    """Writes a token with every scope, mode 0600, and renews it long before its 15 minutes are over."""

    def __init__(self, *, path: Path, tokens: TokenAuthority) -> None:
        self._path = path
        self._tokens = tokens
        self._token = ""
        self._written_s = 0.0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write the file, report that it is there, renew it for ever, and remove it at the end.

        Raises:
            StorageError: the first write fails; later failures are logged and tried again.
        """
        await self._write()
        task_status.started()
        try:
            while True:
                await trio.sleep(LOOK_EVERY_S)
                if not self._is_fresh():
                    await self._rewrite()
        finally:
            self._path.unlink(missing_ok=True)

    def _is_fresh(self) -> bool:
        try:
            self._tokens.verify(self._token)
        except UnauthenticatedError:
            return False
        return trio.current_time() - self._written_s < RENEW_AFTER_S

    async def _rewrite(self) -> None:
        try:
            await self._write()
        except StorageError:
            log.exception("api.token could not be renewed; the next try is in %.0f s", LOOK_EVERY_S)

    async def _write(self) -> None:
        token = self._tokens.issue(CLI_SUBJECT, frozenset(Scope))
        await trio.to_thread.run_sync(write_private, self._path, token.encode() + b"\n")
        self._token, self._written_s = token, trio.current_time()
