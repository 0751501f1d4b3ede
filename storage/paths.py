"""The home directory of a node: where each file lies and who may read it.

::

    <home>/config.toml       settings, by hand or by ``marina config``
    <home>/vault.json        the sealed identity
    <home>/deks.bin          sealed keys of the private scopes (storage/private.py)
    <home>/device.key        the device's sealed libp2p key
    <home>/api.token         what the command line shows to the daemon
    <home>/daemon.lock       held by the running daemon, with its process id
    <home>/daemon.json       address of the running daemon's local API
    <home>/meta/             LevelDB: all node state
    <home>/blobs/            sparse ciphertext files and large blocks; staging/ for unfinished ones
    <home>/search/           tantivy index, rebuildable from meta/
    <home>/backups/          sealed backups and snapshots of meta/ before migrations
    <home>/logs/             structured logs

Directories are 0700 and files 0600: whoever may read them may not be anyone but the owner.
"""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from marina.errors import NotPermittedError
from storage.errors import StorageError
from storage.file_ops import DIRECTORY_MODE

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_DIRECTORIES = ("meta", "blobs", "search", "backups", "logs")


@dataclass(frozen=True, slots=True)
class Home:
    """Names of everything under one home; making one touches no disk.

    Attributes:
        root: the home directory.
    """

    root: Path

    @property
    def config(self) -> Path:
        """Settings file."""
        return self.root / "config.toml"

    @property
    def vault(self) -> Path:
        """Sealed identity."""
        return self.root / "vault.json"

    @property
    def deks(self) -> Path:
        """Sealed data keys of the private scopes."""
        return self.root / "deks.bin"

    @property
    def device_key(self) -> Path:
        """Sealed device key."""
        return self.root / "device.key"

    @property
    def api_token(self) -> Path:
        """Token of the command line."""
        return self.root / "api.token"

    @property
    def daemon_lock(self) -> Path:
        """Lock file of the running daemon."""
        return self.root / "daemon.lock"

    @property
    def daemon_address(self) -> Path:
        """Where the running daemon's local API listens."""
        return self.root / "daemon.json"

    @property
    def meta(self) -> Path:
        """LevelDB directory."""
        return self.root / "meta"

    @property
    def blobs(self) -> Path:
        """Directory of ciphertext and large blocks."""
        return self.root / "blobs"

    @property
    def search(self) -> Path:
        """Directory of the query index."""
        return self.root / "search"

    @property
    def backups(self) -> Path:
        """Directory of backups."""
        return self.root / "backups"

    @property
    def logs(self) -> Path:
        """Directory of logs."""
        return self.root / "logs"

    def create(self) -> None:
        """Make the home and its directories where they are missing, then ``check`` it.

        Raises:
            NotPermittedError: as for ``check``.
            StorageError: a directory cannot be made.
        """
        try:
            self.root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            for name in _DIRECTORIES:
                (self.root / name).mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        except OSError as err:
            raise StorageError(
                f"cannot make the home {self.root}: {err.strerror}. Choose another with --home"
            ) from err
        self.check()

    def check(self) -> None:
        """Return if only the owner can enter the home and read its files.

        Raises:
            NotPermittedError: it belongs to another user, or others may read it; the message has
                the command that mends it.
            StorageError: there is no home here.
        """
        found = _lstat(self.root)
        if found is None or not stat.S_ISDIR(found.st_mode):
            raise StorageError(f"{self.root} is not a node's home: make one with 'marina init'")
        self._check_private(self.root, found)
        for entry in sorted(self.root.iterdir()):
            inner = _lstat(entry)
            if inner is not None and not stat.S_ISLNK(inner.st_mode):
                self._check_private(entry, inner)

    def _check_private(self, path: Path, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid():
            raise NotPermittedError(
                f"{path} belongs to user {found.st_uid}, not to you: choose another home with --home"
            )
        if found.st_mode & _OTHERS:
            raise NotPermittedError(
                f"other users of this machine can open {path}: "
                f"run: chmod -R go-rwx {shlex.quote(str(self.root))}"
            )


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
