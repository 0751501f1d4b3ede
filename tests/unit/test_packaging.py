"""The guards of docs/decisions/0001 and 0002: flat names that are ours alone, locks without addresses."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from chain.artifacts import NAMES, artifact

ROOT = Path(__file__).parents[2]
PACKAGES = ("marina", "storage", "p2p", "chain", "governance", "streaming", "recommend", "node", "cli")
LOCKS = ("run.txt", "dev.txt")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[\w,.-]+\])?==([\w.!+]+)(?:\s*;[^\\]*)?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> dict[str, int]:
    """Return name → number of hashes; ValueError for a line that is neither requirement nor hash."""
    found: dict[str, int] = {}
    name = ""
    for line in text.splitlines():
        part = line.strip().removesuffix("\\").strip()
        if not part or part.startswith("#"):
            continue
        if _HASH.fullmatch(part):
            found[name] += 1
        elif (fits := _REQUIREMENT.fullmatch(part)) and not line[0].isspace():
            name = normal(fits[1])
            found[name] = 0
        else:
            raise ValueError(part)
    return found


def test_no_other_distribution_claims_our_names() -> None:
    owners = metadata.packages_distributions()
    assert {name: set(owners.get(name, ())) for name in PACKAGES} == {name: {"marina"} for name in PACKAGES}


def test_the_package_list_names_each_package_and_nothing_else() -> None:
    listed = project()["tool"]["setuptools"]["packages"]["find"]
    assert set(listed) == {"include"}
    assert sorted(listed["include"]) == sorted([*PACKAGES, *(f"{name}.*" for name in PACKAGES), "contracts"])
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == {*PACKAGES, "contracts"}


def test_the_compiled_contracts_are_shipped_and_nothing_else_of_their_folder() -> None:
    assert project()["tool"]["setuptools"]["package-data"]["contracts"] == ["artifacts/*.json"]
    assert [path.name for path in (ROOT / "contracts").glob("*.py")] == ["__init__.py"]
    for name in NAMES:
        made = artifact(name)
        assert len(made.deployed) > 100, name
        assert len(made.deployed) <= 24_576, f"{name} is larger than a chain takes (EIP-170)"


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert (
        sorted(str(each.relative_to(ROOT)) for each in folders if not (each / "__init__.py").exists()) == []
    )


def test_the_files_of_the_player_page_are_shipped() -> None:
    assert project()["tool"]["setuptools"]["package-data"]["node"] == ["player/*"]
    page = ROOT / "node" / "player"
    assert (page / "index.html").is_file()
    assert not [each for each in page.iterdir() if each.is_dir()]


def test_tests_are_no_package_and_import_by_file() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert "--import-mode=importlib" in project()["tool"]["pytest"]["ini_options"]["addopts"]


def test_the_command_is_installed_and_can_be_called() -> None:
    (command,) = {
        (each.name, each.value)
        for each in metadata.entry_points(group="console_scripts")
        if each.name == "marina"
    }
    assert command == ("marina", "cli.main:entry")
    (entry,) = {each for each in metadata.entry_points(group="console_scripts") if each.name == "marina"}
    assert callable(entry.load())


def test_the_python_versions_are_those_with_wheels_for_every_dependency() -> None:
    assert project()["project"]["requires-python"] == ">=3.11,<3.13"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_requirement_by_hash(lock: str) -> None:
    pinned = read_lock((ROOT / "locks" / lock).read_text(encoding="utf-8"))
    assert len(pinned) > 50
    assert [name for name, hashes in pinned.items() if not hashes] == []


@pytest.mark.parametrize("lock", [*LOCKS, "overrides.txt"])
def test_a_lock_holds_no_download_address(lock: str) -> None:
    text = (ROOT / "locks" / lock).read_text(encoding="utf-8")
    assert [
        line for line in text.splitlines() if "://" in line or "-url" in line or "find-links" in line
    ] == []


def test_no_lock_of_another_kind_is_kept() -> None:
    kept = [name for name in ("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock") if (ROOT / name).exists()]
    assert kept == []
    resolved = [path for path in ROOT.glob("*/package-lock.json") if '"resolved"' in path.read_text()]
    assert resolved == []


def test_the_locks_hold_what_the_project_asks_for() -> None:
    declared = project()
    run = read_lock((ROOT / "locks" / "run.txt").read_text(encoding="utf-8"))
    dev = read_lock((ROOT / "locks" / "dev.txt").read_text(encoding="utf-8"))

    def names(requirements: list[str]) -> set[str]:
        return {normal(re.match(r"[\w.-]+", each)[0]) for each in requirements}

    assert names(declared["project"]["dependencies"]) - set(run) == set()
    assert names(declared["dependency-groups"]["dev"]) - set(dev) == set()
    assert set(run) - set(dev) == set()


def test_a_lock_with_an_address_or_without_a_hash_is_noticed() -> None:
    good = "a==1 \\\n    --hash=sha256:" + "0" * 64 + "\n"
    assert read_lock(good) == {"a": 1}
    assert read_lock("a==1\n") == {"a": 0}
    for bad in ("a @ https://example.org/a.whl\n", "a>=1\n", "--index-url x\n"):
        with pytest.raises(ValueError):  # noqa: PT011 - any refusal will do
            read_lock(good + bad)
