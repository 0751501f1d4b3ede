"""The documents: every link leads somewhere, every path they name exists, the mission has no empty cell."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from cli.main import COMMANDS
from marina import errors

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MISSION = ROOT / "docs" / "mission.md"
NOT_YET = "not yet"
CHAPTERS = frozenset("12345678")

_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_PATH = re.compile(
    r"`((?:marina|storage|p2p|chain|governance|streaming|recommend|node|cli|docs|tests|tools|locks)"
    r"/[\w./-]+\.(?:py|md|json|txt|js|css|html))`"
)
_REMOTE = ("https://", "http://", "mailto:")


def anchors(text: str) -> set[str]:
    """Return the fragments that a page's headings answer to, as a repository browser makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        base = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        slug, again = base, 0
        while slug in found:
            again += 1
            slug = f"{base}-{again}"
        found.add(slug)
    return found


def targets(text: str) -> list[str]:
    """Return where the links of a page lead, those inside code left out."""
    return _LINK.findall(_SPAN.sub("", _FENCE.sub("", text)))


def dead_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    dead = []
    for target in targets(text):
        if target.startswith(_REMOTE):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.is_relative_to(ROOT) or not there.exists():
            dead.append(target)
        elif fragment and there.suffix == ".md":
            known = anchors(text if there == page else there.read_text(encoding="utf-8"))
            dead += [target] if fragment not in known else []
    return dead


def rows(text: str) -> list[list[str]]:
    """Return the body rows of every table of a page, as cells."""
    found: list[list[str]] = []
    is_body = False
    for line in _FENCE.sub("", text).splitlines():
        if not line.startswith("|"):
            is_body = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            is_body = True
        elif is_body:
            found.append(cells)
    return found


def faults(cells: list[str]) -> list[str]:
    """Return what is wrong with a row ``function | module | test | chapter`` of the mission."""
    if len(cells) != 4 or not all(cells):
        return ["a row has four cells, none of them empty"]
    _, module, test, chapter = cells
    wrong = []
    if module.startswith(NOT_YET):
        if test != NOT_YET or chapter != NOT_YET:
            wrong.append("what is not there yet has neither test nor chapter")
        return wrong
    if not targets(module):
        wrong.append("the module is a link")
    if not targets(test) and not test.startswith(NOT_YET):
        wrong.append("the test is a link")
    if chapter != "–" and not set(chapter.replace(" ", "").split(",")) <= CHAPTERS:
        wrong.append("the chapter is 1 to 7, or –")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = _PATH.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in targets(index.read_text())}
    pages = set((ROOT / "docs").rglob("*.md")) - {index}
    assert sorted(str(page.relative_to(ROOT)) for page in pages - linked) == []


def test_the_mission_says_for_every_row_where_it_is_and_how_it_is_tested() -> None:
    table = rows(MISSION.read_text(encoding="utf-8"))
    assert len(table) > 100
    assert [(cells[0], faults(cells)) for cells in table if faults(cells)] == []


def test_the_mission_shows_a_test_file_in_every_test_cell() -> None:
    table = rows(MISSION.read_text(encoding="utf-8"))
    strays = [target for cells in table for target in targets(cells[2]) if not target.startswith("../tests/")]
    assert strays == []


def test_the_documents_speak_of_no_machine_of_their_own() -> None:
    strays = [
        (str(page.relative_to(ROOT)), found)
        for page in PAGES
        for found in re.findall(r"(?<![\w.~])/(?:work|root|tmp)/[\w./-]*", page.read_text(encoding="utf-8"))
    ]
    assert strays == []


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the words that a parser and its actions know: options and names of actions."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option not in ("-h", "--help")}
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                found |= {name, *options(inner)}
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_about_commands_names_each_with_its_actions_and_options(command: str) -> None:
    parser = argparse.ArgumentParser()
    import_module(f"cli.commands.{command}").configure(parser)
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (part,) = re.findall(rf"^### marina {command}\b.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    if "shared options" in part or "(#money)" in part:
        (intro,) = re.findall(r"^## Money\n.*?(?=^###)", page, re.MULTILINE | re.DOTALL)
        part += intro
    assert {each for each in options(parser) if not re.search(rf"(?<![\w-]){each}(?![\w-])", part)} == set()


def test_the_page_about_commands_lists_no_command_that_is_not_there() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### marina (\w+)", page, re.MULTILINE)) == set(COMMANDS)


def test_the_page_about_commands_lists_every_exit_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    codes = {errors.EXIT_OK, errors.EXIT_INTERRUPTED, *(kind.exit_code for kind in kinds)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


def test_the_service_file_of_the_operations_page_is_hardened(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (unit,) = re.findall(r"^```ini\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for line in (
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "UMask=0077",
        "LimitCORE=0",
    ):
        assert line in unit.splitlines()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze rates the service file; this machine has none")
    file = tmp_path / "marina.service"
    file.write_text(unit)
    rate = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(file)]
    done = subprocess.run(rate, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_the_checks_see_what_they_are_for() -> None:
    page = ROOT / "docs" / "index.md"
    text = "# A *b* `c`\n[a](nowhere.md) [b](../README.md) [c](#gone) [d](#a-b-c) `[e](code.md)`\n"
    assert dead_links(page, text) == ["nowhere.md", "#gone"]
    assert dead_links(page, "[out](../../../etc/passwd)") == ["../../../etc/passwd"]
    assert rows("| a | b |\n|---|---|\n| 1 | |\n") == [["1", ""]]
    assert faults(["f", "[m](m.py)", "", "1"])
    assert faults(["f", "m.py", "[t](../tests/t.py)", "1"])
    assert faults(["f", "[m](m.py)", "[t](../tests/t.py)", "9"])
    assert faults(["f", "not yet", "[t](../tests/t.py)", "1"])
    assert not faults(["f", "[m](m.py)", "[t](../tests/t.py)", "1, 2"])
    assert not faults(["f", "not yet", "not yet", "not yet"])
