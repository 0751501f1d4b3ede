"""Where a passphrase comes from: a systemd credential, a file, a descriptor, the terminal.

In that order; the first source that is configured decides, and its failure is an error instead of a
silent step to the next. The environment may name a *path*, never the passphrase itself, and no
source reads the command line: other users of the machine see both. Source: design, security §2.
"""

from __future__ import annotations

import getpass
import os
import select
import stat
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from marina.errors import DamagedError, NotFoundError, NotPermittedError, UsageError
from marina.secret import Secret
from storage.errors import StorageError
from storage.identity.errors import PassphraseMissingError
from storage.identity.passphrase import check_new_passphrase
from storage.identity.private_file import GROUP_AND_WORLD, read_private

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
CREDENTIAL_NAME = "vault-pass"
FILE_VARIABLE = "MARINA_PASSPHRASE_FILE"
SOURCE_BYTES_MAX = 4096
DESCRIPTOR_TIMEOUT_S = 10.0
PROMPT = "Passphrase: "


def terminal_prompt(text: str) -> str:
    """Ask on the controlling terminal without echo.

    Raises:
        PassphraseMissingError: there is no terminal, or the input ended.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would read stdin with echo
            Path("/dev/tty").open("rb").close()
            return getpass.getpass(text)
    except (OSError, EOFError, getpass.GetPassWarning) as err:
        raise PassphraseMissingError(
            "a passphrase is needed and there is no terminal to ask for it: give --passphrase-fd N, "
            f"set {FILE_VARIABLE} to the path of a file with mode 0600, or use a systemd credential"
        ) from err


@dataclass(frozen=True, slots=True)
class PassphraseSources:
    """What may give the passphrase of a vault.

    Attributes:
        credential: file of the systemd credential ``vault-pass``, if the service has one.
        file: file that holds the passphrase and has mode 0600.
        descriptor: open file descriptor that the passphrase can be read from.
        prompt: asks a person; None when nobody is there.
    """

    credential: Path | None = None
    file: Path | None = None
    descriptor: int | None = None
    prompt: Callable[[str], str] | None = None

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        descriptor: int | None = None,
        prompt: Callable[[str], str] | None = terminal_prompt,
    ) -> PassphraseSources:
        """Return the sources that the environment's paths and the given ones make."""
        directory = environment.get(CREDENTIALS_DIRECTORY)
        credential = Path(directory) / CREDENTIAL_NAME if directory else None
        file = environment.get(FILE_VARIABLE)
        return cls(
            credential=credential if credential is not None and credential.exists() else None,
            file=Path(file) if file else None,
            descriptor=descriptor,
            prompt=prompt,
        )

    def read(self) -> Secret[str]:
        """Return the passphrase of the first source; blocks while a person types.

        Raises:
            PassphraseMissingError: no source is there, or the one that decides is empty.
            NotPermittedError: others may read the file.
            UsageError: the source holds no UTF-8 text, more than one line, or is no descriptor.
        """
        configured = self._read_configured()
        if configured is not None:
            return configured
        if self.prompt is None:
            raise PassphraseMissingError("a passphrase is needed and no source for it is configured")
        return _checked(self.prompt(PROMPT), "the terminal")

    def read_new(self) -> Secret[str]:
        """Return a passphrase for something new, asked twice when a person types it.

        Raises:
            WeakPassphraseError: it is too short.
            UsageError: the two inputs differ; otherwise as for ``read``.
        """
        configured = self._read_configured()
        if configured is None:
            if self.prompt is None:
                raise PassphraseMissingError("a passphrase is needed and no source for it is configured")
            configured = _checked(self.prompt("New passphrase: "), "the terminal")
            check_new_passphrase(configured)
            if configured != _checked(self.prompt("The same again: "), "the terminal"):
                raise UsageError("the two passphrases differ: try again")
        check_new_passphrase(configured)
        return configured

    def _read_configured(self) -> Secret[str] | None:
        if self.credential is not None:
            # systemd may grant its service access by an ACL, which shows as group bits.
            return _read_file(self.credential, forbidden_bits=stat.S_IRWXO)
        if self.file is not None:
            return _read_file(self.file, forbidden_bits=GROUP_AND_WORLD)
        if self.descriptor is not None:
            return _read_descriptor(self.descriptor)
        return None


def _read_file(path: Path, *, forbidden_bits: int) -> Secret[str]:
    try:
        data = read_private(path, limit_bytes=SOURCE_BYTES_MAX, forbidden_bits=forbidden_bits)
    except NotFoundError as err:
        raise PassphraseMissingError(f"the passphrase file {path} is not there") from err
    except DamagedError as err:
        raise UsageError(f"{path} is too long for a passphrase") from err
    except StorageError as err:
        raise NotPermittedError(f"the passphrase file {path} cannot be read") from err
    return _decoded(data, str(path))


def _read_descriptor(descriptor: int, timeout_s: float = DESCRIPTOR_TIMEOUT_S) -> Secret[str]:
    """Read to the end of a descriptor and close it, so that no child process inherits it."""
    name = f"descriptor {descriptor}"
    deadline = time.monotonic() + timeout_s
    data = b""
    try:
        os.fstat(descriptor)
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([descriptor], [], [], left_s)[0]:
                raise PassphraseMissingError(f"no passphrase came on {name} within {timeout_s:.0f} s")
            part = os.read(descriptor, SOURCE_BYTES_MAX + 1 - len(data))
            data += part
            if not part or b"\n" in part:
                break
            if len(data) > SOURCE_BYTES_MAX:
                raise UsageError(f"{name} gave too much for a passphrase")
    except (OSError, ValueError, OverflowError) as err:
        raise UsageError(f"{name} cannot be read: give the number of an open descriptor") from err
    if descriptor > 2:
        os.close(descriptor)
    return _decoded(data, name)


def _decoded(data: bytes, source: str) -> Secret[str]:
    text: str | None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:  # raised out here because the decoding error holds the bytes
        raise UsageError(f"{source} holds no UTF-8 text")
    return _checked(text.removesuffix("\n").removesuffix("\r"), source)


def _checked(text: str, source: str) -> Secret[str]:
    if not text:
        raise PassphraseMissingError(f"{source} gave an empty passphrase")
    if "\n" in text or "\x00" in text:
        raise UsageError(f"{source} gave more than one line: a passphrase is one line")
    return Secret(text)
