"""The command line before any command runs: options, mistakes and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import COMMANDS, main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARINA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MARINA_PASSPHRASE_FILE", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: marina {command}" in capsys.readouterr().out


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--json", "staus"]) == 2
    assert capsys.readouterr().err == "marina: there is no command 'staus': did you mean 'marina status'?\n"


def test_a_word_like_no_command_is_answered_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert "'marina --help' lists them" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["status"], ["find", "x"], ["get", "1", "--save", "x.ogg"], ["stop"]])
def test_without_a_daemon_the_way_to_start_one_is_named(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 3
    assert f"marina up --home {home}" in capsys.readouterr().err


def test_shared_options_may_stand_behind_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--home", str(home / "other")]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "daemon_not_running"


def test_a_node_without_a_passphrase_is_refused_with_the_ways_to_give_one(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["init"]) != 0
    assert "--passphrase-fd" in capsys.readouterr().err
    assert not home.exists()


def test_a_setting_cannot_be_written_where_no_node_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "set", "storage.quota", "1GB"]) == 4
    assert "marina up" in capsys.readouterr().err
    assert not home.exists()


def test_a_file_that_is_not_there_is_one_sentence_and_no_traceback(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()

    def missing(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory", "/nowhere/x")

    monkeypatch.setattr("cli.commands.status.run", missing)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith("marina: /nowhere/x: No such file or directory: ")
