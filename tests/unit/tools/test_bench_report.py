"""The benchmark's table: nothing is lost, nothing is called met that is not, and no child outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tools.bench.__main__ import SECTIONS, Section, main, run_section
from tools.bench.child import ROOT, Child, ChildError
from tools.bench.report import (
    FETCH_TWO,
    GOALS,
    SEED_LIMIT,
    SOUND_CACHED,
    VERSION,
    Measurement,
    judge,
    markdown,
    not_measured,
    read_report,
    write_report,
)
from tools.bench.scale import Bench, read_scale
from tools.bench.stats import percentile, spread

KEYS = {"area", "name", "value", "unit", "goal", "kind", "met", "how"}


def test_a_floor_is_met_from_its_limit_upwards():
    must, stretch = judge(Measurement(SEED_LIMIT, 80.0, "so"))
    assert (must.kind, must.goal, must.met) == ("must", 80, True)
    assert (stretch.kind, stretch.goal, stretch.met) == ("stretch", 90, False)
    assert [row.met for row in judge(Measurement(SEED_LIMIT, 79.9, "so"))] == [False, False]


def test_a_ceiling_is_met_up_to_its_limit():
    assert [row.met for row in judge(Measurement(SOUND_CACHED, 30.0, "so"))] == [True, True]
    assert [row.met for row in judge(Measurement(SOUND_CACHED, 50.1, "so"))] == [False, False]


def test_what_was_not_measured_is_missed_and_says_why():
    (measurement,) = not_measured([VERSION], "the disk was full")
    for row in judge(measurement):
        assert row.value is None
        assert row.met is False
        assert "the disk was full" in row.how


def test_every_goal_belongs_to_exactly_one_section():
    names = [goal.name for section in SECTIONS for goal in section.goals]
    assert sorted(names) == sorted(goal.name for goal in GOALS)
    assert len(set(names)) == len(names)


def test_the_json_has_the_keys_that_readers_expect_and_the_table_every_row(tmp_path):
    rows = [row for goal in GOALS for row in judge(Measurement(goal, 1.23456, "a | b\nc"))]
    write_report(rows, tmp_path, note="A note.")
    found = json.loads((tmp_path / "bench.json").read_text())
    assert len(found) == len(rows)
    assert all(set(each) == KEYS for each in found)
    assert all(each["kind"] in {"must", "stretch"} and each["met"] in {True, False} for each in found)
    table = (tmp_path / "bench.md").read_text()
    assert table.startswith("A note.\n\n| number |")
    assert table.count("\n|") == len(rows) + 2
    assert "a \\| b c" in table


def test_a_partial_run_keeps_the_other_numbers_of_the_last_one(tmp_path):
    first = [*judge(Measurement(SEED_LIMIT, 70.0, "old")), *judge(Measurement(VERSION, 0.1, "old"))]
    write_report(first, tmp_path, note="")
    write_report(judge(Measurement(SEED_LIMIT, 81.0, "new")), tmp_path, note="")
    rows = {(row.name, row.kind): (row.value, row.how) for row in read_report(tmp_path)}
    assert rows[SEED_LIMIT.name, "must"] == (81.0, "new")
    assert rows[VERSION.name, "must"] == (0.1, "old")
    assert len(rows) == 4


def test_rows_of_goals_that_are_gone_and_files_of_another_form_are_dropped(tmp_path):
    gone = replace(judge(Measurement(VERSION, 0.1, "old"))[0], name="a goal of long ago")
    write_report([gone], tmp_path, note="")
    assert read_report(tmp_path) == []
    (tmp_path / "bench.json").write_text('[{"name": "other"}]')
    assert read_report(tmp_path) == []
    (tmp_path / "bench.json").write_text("{")
    assert read_report(tmp_path) == []


def test_a_section_that_fails_gives_a_missed_row_for_each_of_its_goals(tmp_path, capsys):
    section = Section("song", "broken", "tools.bench.no_such_module", (SEED_LIMIT, FETCH_TWO))
    found, is_broken = run_section(section, Bench(1.0, tmp_path, tmp_path))
    assert is_broken
    assert [each.goal for each in found] == [SEED_LIMIT, FETCH_TWO]
    assert all(each.value is None and "no_such_module" in each.how for each in found)
    assert "no_such_module" in capsys.readouterr().err


def test_what_a_section_measured_before_it_failed_stays(tmp_path, monkeypatch):
    half = tmp_path / "half_a_section.py"
    half.write_text(
        "from tools.bench.report import SEED_LIMIT, Measurement\n"
        "def measure(bench):\n"
        "    yield Measurement(SEED_LIMIT, 81.0, 'so')\n"
        "    raise OSError('the disk is gone')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    section = Section("song", "half", "half_a_section", (SEED_LIMIT, FETCH_TWO))
    found, is_broken = run_section(section, Bench(1.0, tmp_path, tmp_path))
    assert is_broken
    assert [(each.goal, each.value) for each in found] == [(SEED_LIMIT, 81.0), (FETCH_TWO, None)]
    assert "the disk is gone" in found[1].how


def test_list_names_every_number_and_measures_nothing(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(GOALS)
    assert f"seed: {SEED_LIMIT.name}" in lines


def test_a_table_shows_a_missed_number_in_bold():
    table = markdown(judge(Measurement(SEED_LIMIT, 85.0, "so")))
    assert "| 85 % | 80 % | must | yes |" in table
    assert "| 85 % | 90 % | stretch | **no** |" in table


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "half", "nan"])
def test_a_scale_outside_its_range_is_refused(text, monkeypatch):
    monkeypatch.setenv("MARINA_BENCH_SCALE", text)
    with pytest.raises(SystemExit, match="MARINA_BENCH_SCALE"):
        read_scale()


def test_a_smaller_scale_does_less_and_says_so(tmp_path):
    quick = Bench(0.1, tmp_path, tmp_path)
    assert quick.count(100) == 10
    assert quick.count(3, least=2) == 2
    assert "quick run" in quick.scale_note
    assert Bench(1.0, tmp_path, tmp_path).scale_note == ""


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(each) for each in range(1, 21)]
    assert percentile(values, 0.95) == 19.0
    assert percentile(values, 1.0) == 20.0
    assert percentile([7.0], 0.5) == 7.0
    assert spread([3.0, 1.0, 2.0]) == "2 (1–3)"


def test_a_failure_in_a_child_reaches_its_parent_and_the_child_ends():
    with Child("tools.bench.memory") as child:
        pid = child.pid
        with pytest.raises(ChildError, match="KeyError"):
            child.ask(20, work="fetch")
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_does_not_answer_in_time_is_an_error_and_is_ended():
    with Child("tools.bench.torrent") as child:
        pid = child.pid
        with pytest.raises(ChildError, match="no answer"):
            child.hear(0.2)
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_dies_with_a_parent_that_is_killed():
    code = (
        "import sys, time\n"
        "from tools.bench.child import Child\n"
        "child = Child('tools.bench.torrent')\n"
        "child.ask(20, role='leech', torrent='', port=1)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
        deadline = time.monotonic() + 10
        while _is_running(pid):
            assert time.monotonic() < deadline, "the child outlived its parent"
            time.sleep(0.02)
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
