"""What npm installs for the contracts is exact, checked by hashes, names no server, and installs afresh."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.support.contract_tools import CONTRACTS

DRY_RUN_S = 60
MANIFEST = json.loads((CONTRACTS / "package.json").read_text("utf-8"))
LOCK = json.loads((CONTRACTS / "package-lock.json").read_text("utf-8"))
GROUPS = ("dependencies", "devDependencies", "optionalDependencies")


def test_every_version_is_exact():
    versions = [version for group in GROUPS for version in MANIFEST[group].values()]
    assert len(versions) >= 6
    assert [version for version in versions if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []


def test_every_package_has_its_hash_and_no_address():
    packages = {name: package for name, package in LOCK["packages"].items() if name}
    assert len(packages) >= 12
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_the_lock_is_that_of_the_manifest():
    root = LOCK["packages"][""]
    for group in GROUPS:
        assert root[group] == MANIFEST[group]


def test_npm_installs_the_lock_from_nothing(tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: only those who change the contracts need it")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(CONTRACTS / name, tmp_path)
    done = subprocess.run(
        [npm, "ci", "--dry-run", "--offline"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DRY_RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
