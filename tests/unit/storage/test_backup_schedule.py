"""One backup a day, seven kept, whatever the clock did before."""

from __future__ import annotations

import logging

import pytest
import trio

from marina.clock import ManualClock
from marina.errors import MarinaError
from storage.backup_schedule import (
    DailyBackup,
    backup_path,
    list_backups,
    next_backup_s,
    rotate_backups,
)
from storage.errors import DiskFullError, StorageError

DAY_S = 86_400
NOW_S = 1_800_000_000


def put(directory, *times_s):
    for time_s in times_s:
        backup_path(directory, time_s).write_bytes(b"sealed")


def test_a_name_says_when(tmp_path):
    assert backup_path(tmp_path, NOW_S).name == "marina-20270115T080000Z.mbk"
    put(tmp_path, NOW_S, NOW_S - 5)
    assert [time_s for time_s, _ in list_backups(tmp_path)] == [NOW_S - 5, NOW_S]


def test_the_newest_seven_stay_and_other_files_are_not_touched(tmp_path):
    put(tmp_path, *(NOW_S - n * DAY_S for n in range(10)))
    others = ["notes.txt", "marina-x.mbk", "marina-20271399T080000Z.mbk", "marina-20270115T080000Z.mbk.new"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    gone = rotate_backups(tmp_path, now_s=NOW_S)
    assert gone == [backup_path(tmp_path, NOW_S - n * DAY_S) for n in (9, 8, 7)]
    assert [time_s for time_s, _ in list_backups(tmp_path)] == [NOW_S - n * DAY_S for n in range(6, -1, -1)]
    assert all((tmp_path / name).exists() for name in others)


def test_backups_of_a_wrong_future_go_first_and_do_not_delay_the_next(tmp_path):
    put(tmp_path, NOW_S, *(NOW_S + n * 400 * DAY_S for n in range(1, 8)))
    rotate_backups(tmp_path, now_s=NOW_S)
    assert backup_path(tmp_path, NOW_S).exists()
    assert next_backup_s(tmp_path, now_s=NOW_S + 10) == NOW_S + DAY_S


def test_nothing_kept_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        rotate_backups(tmp_path, now_s=NOW_S, keep=0)


def test_a_missing_directory_is_a_declared_error(tmp_path):
    with pytest.raises(StorageError):
        list_backups(tmp_path / "none")


async def test_the_first_is_due_at_once_and_the_next_a_day_later(tmp_path):
    clock = ManualClock(NOW_S)
    made = []

    async def create(path):
        made.append(path)
        path.write_bytes(b"sealed")

    service = DailyBackup(directory=tmp_path, create=create, clock=clock, keep=2)
    for _ in range(4):
        assert await service.run_if_due() is not None
        assert await service.run_if_due() is None
        clock.advance(DAY_S - 1)
        assert await service.run_if_due() is None
        clock.advance(1)
    assert len(made) == 4
    assert [path for _, path in list_backups(tmp_path)] == made[-2:]


async def test_a_failure_is_logged_and_tried_again_in_an_hour(tmp_path, mock_clock, caplog):
    mock_clock.autojump_threshold = 0.05  # worker threads get real time to finish before hours pass
    attempts = []

    async def create(path):
        attempts.append(trio.current_time())
        if len(attempts) < 3:
            raise DiskFullError("the disk is full")
        path.write_bytes(b"sealed")

    service = DailyBackup(directory=tmp_path, create=create, clock=ManualClock(NOW_S))
    with caplog.at_level(logging.ERROR, "marina.storage.backup"):
        with trio.move_on_after(5 * 3600):
            await service.run()
    assert [round(later - attempts[0]) for later in attempts] == [0, 3600, 7200]
    assert len(caplog.records) == 2
    assert service.failures == 0
    assert issubclass(DiskFullError, MarinaError)
