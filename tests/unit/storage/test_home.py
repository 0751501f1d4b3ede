"""A home belongs to its owner alone, and to one daemon at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from marina.errors import NotPermittedError
from storage.errors import HomeInUseError, StorageError
from storage.lock import HomeLock, holder_pid
from storage.paths import Home

HOLD = """
import sys, time
from pathlib import Path
from storage.lock import HomeLock
HomeLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_opens_for_its_owner_only(tmp_path):
    home = Home(tmp_path / "new" / "home")
    home.create()
    home.create()
    for path in (home.root, home.meta, home.blobs, home.search, home.backups, home.logs):
        assert mode_of(path) == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o701, 0o777])
def test_a_home_that_others_can_enter_is_refused_with_the_command_that_mends_it(tmp_path, mode):
    home = Home(tmp_path / "my home")
    home.create()
    home.root.chmod(mode)
    with pytest.raises(NotPermittedError) as refusal:
        home.check()
    command = str(refusal.value).split("run: ")[1]
    subprocess.run(command, shell=True, check=True)
    home.check()


def test_a_file_that_others_can_read_is_refused(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    home.vault.write_text("{}")
    home.vault.chmod(0o640)
    with pytest.raises(NotPermittedError, match="chmod -R go-rwx"):
        home.check()
    home.vault.chmod(0o600)
    home.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_home_of_somebody_else_is_refused(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    os.chown(home.root, 12345, -1)
    with pytest.raises(NotPermittedError, match="belongs to user 12345"):
        home.check()


def test_a_directory_that_is_no_home_says_how_to_make_one(tmp_path):
    with pytest.raises(StorageError, match="marina init"):
        Home(tmp_path / "nowhere").check()


def test_a_home_in_the_place_of_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot make the home"):
        Home(tmp_path / "file" / "home").create()


def test_a_second_holder_is_refused_and_told_the_first_ones_process(tmp_path):
    path = tmp_path / "daemon.lock"
    with HomeLock(path) as lock:
        lock.acquire()
        with pytest.raises(HomeInUseError, match=str(os.getpid())):
            HomeLock(path).acquire()
        assert holder_pid(path) == os.getpid()
    with HomeLock(path):
        pass
    assert holder_pid(path) is None


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    path = tmp_path / "daemon.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(HomeInUseError, match=f"process {child.pid}"):
            HomeLock(path).acquire()
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert holder_pid(path) == child.pid
    with HomeLock(path):
        assert holder_pid(path) == os.getpid()


def test_a_lock_file_full_of_rubbish_is_no_lock(tmp_path):
    path = tmp_path / "daemon.lock"
    path.write_bytes(os.urandom(1000))
    assert holder_pid(path) is None
    with HomeLock(path):
        assert holder_pid(path) == os.getpid()


def test_a_lock_in_a_missing_directory_is_a_clear_error(tmp_path):
    with pytest.raises(StorageError, match="cannot open"):
        HomeLock(tmp_path / "nowhere" / "daemon.lock").acquire()
