"""Where passphrases may come from, in which order, and what is refused."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import textwrap
import traceback

import pytest

from marina.errors import NotPermittedError, UsageError
from storage.identity.errors import PassphraseMissingError, WeakPassphraseError
from storage.identity.unlock import PassphraseSources, _read_descriptor

SECRET = "correct horse battery"


def private(path, text=SECRET + "\n", mode=0o600):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def pipe_with(data: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def refuse_to_ask(text):
    raise AssertionError("the prompt must not be reached")


def test_the_order_is_credential_file_descriptor_prompt(tmp_path):
    private(tmp_path / "credentials" / "vault-pass", "from the credential")
    file = private(tmp_path / "pass", "from the file")
    credentials = str(tmp_path / "credentials")
    environment = {"CREDENTIALS_DIRECTORY": credentials, "MARINA_PASSPHRASE_FILE": str(file)}
    descriptor = pipe_with(b"from the descriptor")
    read = []
    while True:
        sources = PassphraseSources.from_environment(
            environment, descriptor=descriptor, prompt=lambda text: "from the prompt"
        )
        read.append(sources.read().reveal())
        if environment:
            del environment[next(iter(environment))]
        elif descriptor is not None:
            descriptor = None
        else:
            break
    assert read == ["from the credential", "from the file", "from the descriptor", "from the prompt"]


def test_the_environment_never_holds_the_passphrase_itself(tmp_path):
    environment = {"MARINA_PASSPHRASE": SECRET, "PASSPHRASE": SECRET, "MARINA_VAULT_PASS": SECRET}
    with pytest.raises(PassphraseMissingError):
        PassphraseSources.from_environment(environment, prompt=None).read()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    file = private(tmp_path / "pass", mode=mode)
    with pytest.raises(NotPermittedError, match="chmod 600"):
        PassphraseSources(file=file, prompt=refuse_to_ask).read()


def test_a_credential_may_show_the_group_bits_of_an_acl_but_not_the_world(tmp_path):
    file = private(tmp_path / "vault-pass", mode=0o440)
    assert PassphraseSources(credential=file).read().reveal() == SECRET
    file.chmod(0o444)
    with pytest.raises(NotPermittedError):
        PassphraseSources(credential=file).read()


def test_a_service_without_the_credential_goes_on_to_the_next_source(tmp_path):
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    sources = PassphraseSources.from_environment(environment, prompt=lambda text: SECRET)
    assert sources.read().reveal() == SECRET


def test_a_configured_file_that_is_missing_is_an_error_not_a_prompt(tmp_path):
    with pytest.raises(PassphraseMissingError, match="is not there"):
        PassphraseSources(file=tmp_path / "none", prompt=refuse_to_ask).read()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_line_ending_is_not_part_of_the_passphrase(tmp_path, ending):
    assert PassphraseSources(file=private(tmp_path / "p", SECRET + ending)).read().reveal() == SECRET
    assert PassphraseSources(descriptor=pipe_with((SECRET + ending).encode())).read().reveal() == SECRET


def test_spaces_at_the_ends_belong_to_it(tmp_path):
    assert PassphraseSources(file=private(tmp_path / "p", "  two words \n")).read().reveal() == "  two words "


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", PassphraseMissingError, "empty"),
        (b"\n", PassphraseMissingError, "empty"),
        (b"one line\nanother line\n", UsageError, "one line"),
        (b"nul\x00inside", UsageError, "one line"),
        (b"\xff\xfe secret", UsageError, "UTF-8"),
        (b"x" * 5000, UsageError, "too"),
    ],
)
def test_what_is_no_passphrase_is_refused_without_repeating_it(tmp_path, data, error, message):
    for sources in (
        PassphraseSources(file=private(tmp_path / "p", data)),
        PassphraseSources(descriptor=pipe_with(data)),
    ):
        with pytest.raises(error, match=message) as failure:
            sources.read()
        told = "".join(traceback.format_exception(failure.value, chain=True)) + repr(
            failure.value.__context__ and failure.value.__context__.args
        )
        for word in ("another line", "inside", "secret", "xxxxx"):
            assert word not in told


def test_a_descriptor_that_is_not_open_is_named():
    for number in (987, -1, 1_000_000):
        with pytest.raises(UsageError, match="open descriptor"):
            PassphraseSources(descriptor=number).read()


def test_a_silent_descriptor_ends_at_its_deadline():
    reader, writer = os.pipe()
    try:
        with pytest.raises(PassphraseMissingError, match="within 0 s"):
            _read_descriptor(reader, timeout_s=0.05)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_used_descriptor_is_closed():
    descriptor = pipe_with(SECRET.encode())
    PassphraseSources(descriptor=descriptor).read()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_new_passphrase_is_typed_twice_and_long_enough():
    def typed(*answers):
        left = list(answers)
        return PassphraseSources(prompt=lambda text: left.pop(0))

    assert typed(SECRET, SECRET).read_new().reveal() == SECRET
    with pytest.raises(UsageError, match="differ"):
        typed(SECRET, SECRET + "!").read_new()
    with pytest.raises(WeakPassphraseError):
        typed("short").read_new()
    with pytest.raises(PassphraseMissingError, match="empty"):
        typed("").read_new()


def test_a_short_passphrase_from_a_file_is_refused_for_something_new(tmp_path):
    with pytest.raises(WeakPassphraseError):
        PassphraseSources(file=private(tmp_path / "p", "short")).read_new()


def test_no_source_shows_a_passphrase_in_its_repr(tmp_path):
    sources = PassphraseSources(file=private(tmp_path / "p"))
    assert SECRET not in repr(sources)
    assert SECRET not in repr(sources.read())


PROGRAM = textwrap.dedent(
    """
    from storage.identity.unlock import PassphraseSources
    from storage.identity.errors import PassphraseMissingError
    try:
        print(len(PassphraseSources.from_environment({}).read().reveal()), flush=True)
    except PassphraseMissingError as err:
        print("missing:", err, flush=True)
    """
)


TAKE_TERMINAL = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"


def test_a_terminal_asks_without_echo():
    terminal, child_side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL + PROGRAM],
        stdin=child_side,
        stdout=child_side,
        stderr=child_side,
        start_new_session=True,
    )
    os.close(child_side)
    shown = b""
    while b"Passphrase: " not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, SECRET.encode() + b"\n")
    with contextlib.suppress(OSError):  # a terminal whose other end is closed ends so on Linux
        while part := os.read(terminal, 1024):
            shown += part
    assert child.wait(10) == 0
    os.close(terminal)
    assert str(len(SECRET)).encode() in shown
    assert SECRET.encode() not in shown


def test_without_a_terminal_the_message_names_the_other_ways(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=True,
        input=SECRET,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.stdout.startswith("missing: a passphrase is needed and there is no terminal")
    assert "--passphrase-fd" in done.stdout
    assert SECRET not in done.stdout + done.stderr
