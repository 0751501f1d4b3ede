"""The passphrase: changed, forgotten and set anew by the words, typed at a terminal and from descriptors."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import PASSPHRASE, Answer, Daemon, daemons, environment
from tests.support.terminal import at_a_terminal

SECOND = "two grey herons at dusk"
THIRD = "nine white herons at dawn"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemons(tmp_path_factory.mktemp("keys"), "home") as (node,):
        node.init()
        yield node


@contextmanager
def descriptor(text: str) -> Iterator[int]:
    reader, writer = os.pipe()
    os.write(writer, f"{text}\n".encode())
    os.close(writer)
    try:
        yield reader
    finally:
        os.close(reader)


def with_secrets(node: Daemon, *command: str, is_json: bool = True, **secrets: str) -> Answer:
    """Run a command with each secret in a descriptor of its own: ``words`` is behind ``--words-fd``."""
    with ExitStack() as stack:
        fds = {name: stack.enter_context(descriptor(text)) for name, text in secrets.items()}
        options = [part for name, fd in fds.items() for part in (f"--{name.replace('_', '-')}-fd", str(fd))]
        done = subprocess.run(
            [*node.command(*command), *options, *(["--json"] if is_json else [])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            env=environment(),
            pass_fds=list(fds.values()),
        )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def opens(node: Daemon, passphrase: str) -> bool:
    """Return whether the passphrase opens the vault."""
    answer = with_secrets(node, "key", "words", passphrase=passphrase)
    assert answer.code in (0, 5), answer
    assert (answer.code == 0) == (answer.data.get("words") == node.words)
    return answer.code == 0


def test_a_changed_passphrase_opens_the_running_node_and_the_next_start_and_the_old_one_nothing(
    node: Daemon,
) -> None:
    node.start()
    wrong = with_secrets(node, "key", "passphrase", passphrase="a wrong one", new_passphrase=SECOND)
    assert wrong.code == 5, wrong
    assert "passphrase" in wrong.error
    weak = with_secrets(node, "key", "passphrase", passphrase=PASSPHRASE, new_passphrase="short")
    assert weak.code == 2, weak
    assert "8 characters" in weak.error
    nobody = with_secrets(node, "key", "passphrase", passphrase=PASSPHRASE)
    assert nobody.code in (2, 5), nobody
    assert "--new-passphrase-fd" in nobody.error
    assert opens(node, PASSPHRASE)

    done = with_secrets(
        node, "key", "passphrase", is_json=False, passphrase=PASSPHRASE, new_passphrase=SECOND
    )
    assert (done.code, done.out, done.err) == (0, "The passphrase is changed.\n", "")
    assert not opens(node, PASSPHRASE)
    assert opens(node, SECOND)
    assert not node.try_run("status").data["locked"]  # alone it is degraded, which is exit code 8

    busy = with_secrets(node, "key", "reset", words=" ".join(node.words), new_passphrase=THIRD)
    assert busy.code == 1, busy
    assert "marina stop" in busy.error

    node.run("key", "lock")
    again = with_secrets(node, "key", "unlock", passphrase=PASSPHRASE)
    assert again.code == 5, again
    assert with_secrets(node, "key", "unlock", passphrase=SECOND).data == {"locked": False}
    for secret in (PASSPHRASE, SECOND, THIRD, " ".join(node.words)):
        assert secret not in node.log()

    node.stop()
    refused = node.try_run("daemon", "--quiet", "--passphrase-fd", "0", secret=PASSPHRASE)
    assert refused.code == 5, refused
    assert "Traceback" not in refused.err
    assert len(refused.err.splitlines()) <= 1


def test_the_passphrase_is_changed_at_a_terminal_while_the_node_is_stopped(node: Daemon) -> None:
    current = SECOND if opens(node, SECOND) else PASSPHRASE
    code, shown = at_a_terminal(
        node.command("key", "passphrase"),
        [
            ("Passphrase:", current),
            ("New passphrase:", PASSPHRASE),
            ("The same again:", "mistyped, alas"),
        ],
        env=environment(),
    )
    assert code == 2, shown
    assert "differ" in shown
    code, shown = at_a_terminal(
        node.command("key", "passphrase"),
        [("Passphrase:", current), ("New passphrase:", PASSPHRASE), ("The same again:", PASSPHRASE)],
        env=environment(),
    )
    assert code == 0, shown
    assert "The passphrase is changed." in shown
    assert PASSPHRASE not in shown
    assert opens(node, PASSPHRASE)


def test_a_forgotten_passphrase_is_set_anew_by_the_words_and_by_no_others(
    node: Daemon, tmp_path: Path
) -> None:
    foreign = Daemon(tmp_path / "foreign")
    foreign.init()
    other = with_secrets(node, "key", "reset", words=" ".join(foreign.words), new_passphrase=THIRD)
    assert other.code == 5, other
    mistyped = [*node.words[:-1], "zoo"] if node.words[-1] != "zoo" else [*node.words[:-1], "zone"]
    for words in (" ".join(mistyped), "these are no words", ""):
        refused = with_secrets(node, "key", "reset", words=words, new_passphrase=THIRD)
        assert refused.code == 2, refused
        assert "Traceback" not in refused.err
        assert node.words[0] not in refused.error.split()
    none = node.try_run("key", "reset", "--words-fd", "99")
    assert none.code == 2, none
    assert "descriptor 99" in none.error
    assert not opens(node, THIRD)

    code, shown = at_a_terminal(
        node.command("key", "reset"),
        [("24 words:", " ".join(node.words)), ("New passphrase:", THIRD), ("The same again:", THIRD)],
        env=environment(),
    )
    assert code == 0, shown
    assert node.words[0] not in shown.split()
    assert opens(node, THIRD)
    assert not opens(node, PASSPHRASE)

    done = with_secrets(node, "key", "reset", words=" ".join(node.words), new_passphrase=PASSPHRASE)
    assert (done.code, done.data) == (0, {"changed": True})
    node.start()
    assert not node.try_run("status").data["locked"]
    node.stop()


def test_without_a_node_every_action_says_how_to_make_one(tmp_path: Path) -> None:
    nobody = Daemon(tmp_path / "none")
    for action in ("words", "lock", "unlock", "passphrase", "reset"):
        answer = nobody.try_run("key", action)
        assert answer.code == 4, answer
        assert "marina init" in answer.error
