"""What lies inside a backup's sealed stream: frames ``kind(1) ‖ u32be length ‖ body``.

First the binding of the device that writes, then files and key-value pairs, then an end that the
device signs. HPKE hides a backup but does not tell who wrote it, and the public backup key is in
every header: the signature keeps a forged backup from being restored. It is checked with the last
frame, so a reader keeps what it gets apart until then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from marina.errors import DamagedError, MalformedError, NotPermittedError
from marina.ids import Account
from marina.schema import U64, Bytes32, encode_record, record
from marina.signing import Signer, open_record, sign_record
from storage.backup_stream import SealedReader, SealedWriter
from storage.errors import StorageError
from storage.identity.binding import BINDING_BYTES_MAX, DeviceBinding, check_signatures, decode_binding
from storage.identity.errors import BindingError

FILES = ("config.toml", "deks.bin", "vault.json")
"""Names of the files of a home that a backup may hold."""
FILE_BYTES_MAX = 8 * 1024 * 1024
PAIR_BYTES_MAX = 8 * 1024 * 1024
_BINDING, _FILE, _PAIR, _END = 1, 2, 3, 4
_LIMITS = {_BINDING: BINDING_BYTES_MAX, _FILE: FILE_BYTES_MAX + 64, _PAIR: PAIR_BYTES_MAX, _END: 512}
_LENGTH_BYTES = 4


class BackupOwner(Protocol):
    """What of an owner goes into a backup; there while the vault is locked."""

    @property
    def account(self) -> Account:
        """The 20-byte account."""
        ...

    @property
    def backup_recipient(self) -> bytes:
        """Raw X25519 public backup key."""
        ...

    @property
    def device(self) -> Signer:
        """The device that signs the backup."""
        ...

    @property
    def binding(self) -> DeviceBinding:
        """The account's word for that device."""
        ...


@record("marina/backup/end/1")
@dataclass(frozen=True, slots=True)
class BackupEnd:
    """The last frame, signed by the device.

    Attributes:
        device: raw Ed25519 public key of the signer.
        header_digest: sha256 of the backup's header.
        content_digest: sha256 of all frames before this one.
        files: number of files.
        pairs: number of key-value pairs.
    """

    device: Bytes32
    header_digest: Bytes32
    content_digest: Bytes32
    files: U64
    pairs: U64


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What a whole and genuine backup holds.

    Attributes:
        created_s: Unix seconds, UTC.
        account: whose it is.
        files: number of files.
        pairs: number of key-value pairs.
        content_bytes: length of everything before encryption.
    """

    created_s: int
    account: Account
    files: int
    pairs: int
    content_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class FileEntry:
    """A file of the home, whole."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, repr=False)
class PairEntry:
    """A key of the database and its value."""

    key: bytes
    value: bytes


class FrameWriter:
    """Writes the frames of one backup; all calls block."""

    def __init__(self, file: BinaryIO, *, owner: BackupOwner, binding: DeviceBinding, created_s: int) -> None:
        self._owner = owner
        self._created_s = created_s
        self._stream = SealedWriter(
            file, created_s=created_s, account=owner.account, recipient=owner.backup_recipient
        )
        self._digest = hashlib.sha256()
        self._files = self._pairs = self._bytes = 0
        self._write(_BINDING, encode_record(binding))

    def add_file(self, name: str, data: bytes) -> None:
        """Append a file of the home; its name is one of ``FILES``."""
        self._write(_FILE, _join(name.encode(), data))
        self._files += 1

    def add_pairs(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Append pairs of the database; StorageError when one is larger than 8 MiB."""
        for key, value in pairs:
            self._write(_PAIR, _join(key, value))
        self._pairs += len(pairs)

    def finish(self) -> BackupSummary:
        """Sign and write the end."""
        device, header_digest = self._owner.device, self._stream.header_digest
        end = BackupEnd(device.public_key, header_digest, self._digest.digest(), self._files, self._pairs)
        self._write(_END, sign_record(device, end))
        self._stream.finish()
        return BackupSummary(self._created_s, self._owner.account, self._files, self._pairs, self._bytes)

    def _write(self, kind: int, body: bytes) -> None:
        if len(body) > _LIMITS[kind]:
            raise StorageError(f"an entry of {len(body)} bytes is too large for a backup")
        frame = bytes((kind,)) + len(body).to_bytes(_LENGTH_BYTES) + body
        self._digest.update(frame)
        self._bytes += len(frame)
        self._stream.write(frame)


class FrameReader:
    """Reads the frames of one backup; all calls block.

    Attributes:
        summary: set once ``entries`` has ended, which says that the backup is whole and genuine.
    """

    def __init__(self, stream: SealedReader) -> None:
        self.summary: BackupSummary | None = None
        self._stream = stream
        self._digest = hashlib.sha256()
        self._names: set[str] = set()
        self._pairs = self._bytes = 0

    def entries(self) -> Iterator[FileEntry | PairEntry]:
        """Give all files and pairs in order; nothing of it may be used before the iterator ends.

        Raises:
            DamagedError: it is damaged, cut short or does not follow the format.
            NotPermittedError: no device of the account signed it.
        """
        kind, body = self._next()
        if kind != _BINDING:
            raise _strange()
        binding = self._open_binding(body)
        while True:
            before = self._digest.digest()
            kind, body = self._next()
            if kind == _FILE:
                yield self._open_file(body)
            elif kind == _PAIR:
                self._pairs += 1
                yield PairEntry(*_split(body))
            elif kind == _END:
                self._close(body, binding, before)
                return
            else:
                raise _strange()

    def _next(self) -> tuple[int, bytes]:
        head = self._stream.read_exactly(1 + _LENGTH_BYTES)
        kind, length = head[0], int.from_bytes(head[1:])
        if length > _LIMITS.get(kind, 0):
            raise _strange()
        body = self._stream.read_exactly(length)
        self._digest.update(head)
        self._digest.update(body)
        self._bytes += len(head) + length
        return kind, body

    def _open_binding(self, body: bytes) -> DeviceBinding:
        try:
            binding = decode_binding(body)
            signer = check_signatures(binding)
        except (MalformedError, BindingError) as err:
            raise NotPermittedError("the backup names no device of its account: it may be forged") from err
        if signer != self._stream.header.account:
            raise NotPermittedError("the backup was written by a device of another account")
        return binding

    def _open_file(self, body: bytes) -> FileEntry:
        raw_name, data = _split(body)
        name = raw_name.decode("ascii", errors="replace")
        if name not in FILES or name in self._names:
            raise _strange()
        self._names.add(name)
        return FileEntry(name, data)

    def _close(self, body: bytes, binding: DeviceBinding, content_digest: bytes) -> None:
        self._stream.expect_end()
        try:
            end = open_record(BackupEnd, body, "device")
        except MalformedError as err:
            raise NotPermittedError("the backup is not signed by its device: it may be forged") from err
        expected = BackupEnd(
            binding.peer, self._stream.header_digest, content_digest, len(self._names), self._pairs
        )
        if end != expected:
            raise NotPermittedError("the backup's signature is for another content: it may be forged")
        header = self._stream.header
        self.summary = BackupSummary(
            header.created_s, Account(header.account), end.files, end.pairs, self._bytes
        )


def _join(first: bytes, second: bytes) -> bytes:
    return len(first).to_bytes(_LENGTH_BYTES) + first + second


def _split(body: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(body[:_LENGTH_BYTES])
    if len(body) < _LENGTH_BYTES + length:
        raise _strange()
    return body[_LENGTH_BYTES : _LENGTH_BYTES + length], body[_LENGTH_BYTES + length :]


def _strange() -> DamagedError:
    return DamagedError("the backup's content does not follow the format: use another of the kept backups")
