"""What people and programs read: tables, progress, sizes and errors."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from cli.console import (
    Console,
    clean,
    counted,
    fitted,
    human_age,
    human_bytes,
    human_date,
    human_time,
)
from marina.errors import NotFoundError

HEADINGS = ("#", "track", "artist", "where", "id")
ROWS = [
    (1, "夜の海を渡る長い長い長い題名の歌", "東京事変", "here", "tr_acgtva7o6yo"),
    (2, "A very long title that no terminal could ever hold in one line", "Ada", "swarm", "tr_cj5hn6ak2rs"),
]


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(home=tmp_path)


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))


@pytest.mark.parametrize("columns", [60, 70, 80, 120])
def test_a_table_fits_the_terminal_and_keeps_numbers_and_ids_whole(
    console: Console, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    on_terminal(monkeypatch, columns)
    lines = console.table(HEADINGS, ROWS, indent="  ")
    assert max(map(cell_len, lines)) <= columns
    for row, line in zip(ROWS, lines[1:], strict=True):
        assert line.split()[0] == str(row[0])
        assert line.endswith(f"{row[4]}")


def test_columns_stay_aligned_behind_wide_characters(console: Console) -> None:
    lines = console.table(HEADINGS, ROWS)
    words = ("WHERE", "here", "swarm")
    starts = [cell_len(line[: line.index(word)]) for line, word in zip(lines, words, strict=True)]
    assert len(set(starts)) == 1


def test_a_table_in_a_pipe_is_not_cut(console: Console) -> None:
    assert str(ROWS[1][1]) in console.table(HEADINGS, ROWS)[2]


def test_a_terminal_too_narrow_for_any_table_gets_cut_lines_instead_of_wrapped_ones(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch, 20)
    assert all(cell_len(line) <= 20 for line in console.table(HEADINGS, ROWS))


def test_a_progress_bar_never_reaches_the_edge_of_the_terminal(
    console: Console, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_terminal(monkeypatch, 50)
    with console.progress("Publishing") as progress:
        progress.update({"done": 3, "total": 18, "unit": "files", "note": "夜の海を渡る長い題名の歌.flac"})
    bar = capsys.readouterr().err.removeprefix("\r").removesuffix("\n").removesuffix("\x1b[K")
    assert "3/18" in bar
    assert cell_len(bar) == 49


def test_progress_for_programs_is_one_object_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(home=tmp_path, is_json=True).progress("Fetching") as progress:
        progress.update({"done": 1, "total": 2, "unit": "bytes"})
    line = json.loads(capsys.readouterr().out)
    assert line == {"event": "progress", "op": "Fetching", "done": 1, "total": 2, "unit": "bytes"}


def test_an_error_is_one_sentence_for_people_and_one_object_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Console(home=tmp_path).fail(NotFoundError("nothing is there"))
    Console(home=tmp_path, is_json=True).fail(NotFoundError("nothing is there"))
    said = capsys.readouterr()
    assert said.err == "marina: nothing is there\n"
    assert json.loads(said.out)["error"]["exitCode"] == 4


def test_text_from_the_network_cannot_drive_the_terminal() -> None:
    assert clean("a\x1b[2Jb\r\n\u202ec") == "a\ufffd[2Jb\ufffd\ufffd\ufffdc"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (counted(0, "peer"), "0 peers"),
        (counted(1, "peer"), "1 peer"),
        (counted(2, "peer"), "2 peers"),
        (human_bytes(999), "999 B"),
        (human_bytes(1_400_000), "1.4 MB"),
        (human_bytes(2e15), "2000.0 TB"),
        (human_time(187_400), "3:07"),
        (human_time(3_600_000), "1:00:00"),
        (human_age(59), "59 s"),
        (human_age(7500), "2 h 05 m"),
        (human_age(90_000), "1 d 01 h"),
        (human_date(0), "–"),
        (human_date(1_800_000_000), "2027-01-15"),
        (fitted("short", 5), "short"),
        (fitted("longer", 5), "long…"),
        (fitted("題名の歌", 5), "題名…"),
    ],
)
def test_numbers_and_texts_read_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected
