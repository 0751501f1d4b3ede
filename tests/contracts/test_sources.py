"""What every contract of ours says about itself, and what of it no test has ever seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.contract_tools import CONTRACTS

SOURCES = sorted((CONTRACTS / "src").rglob("*.sol"))
TESTS = "\n".join(path.read_text("utf-8") for path in sorted((CONTRACTS / "test").rglob("*.sol")))
SOLC = "pragma solidity 0.8.37;"


def declared(path: Path, kind: str) -> list[str]:
    return re.findall(rf"^\s*{kind} (\w+)\s*\(", path.read_text("utf-8"), re.MULTILINE)


def undocumented(text: str) -> list[str]:
    """Return declarations that are visible outside and have no NatSpec above them."""
    rows = text.splitlines()
    missing = []
    for index, row in enumerate(rows):
        head = " ".join(rows[index : index + 9]).split("{")[0].split(";")[0]
        stated = re.match(
            r"\s*(contract|abstract contract|library|struct|event|error|function|constructor)\b", row
        )
        visible = stated and (stated[1] != "function" or re.search(r"\b(external|public)\b", head))
        variable = re.match(r"    [a-zA-Z].*\bpublic\b.*;$", row) and not stated
        if (visible or variable) and not above(rows, index).startswith("///"):
            missing.append(row.strip())
    return missing


def above(rows: list[str], index: int) -> str:
    """Return the line above a declaration, directives of the linter left out."""
    index -= 1
    while rows[index].strip().startswith("// solhint"):
        index -= 1
    return rows[index].strip()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_public_item_is_documented(path: Path):
    text = path.read_text("utf-8")
    assert undocumented(text) == []
    assert undocumented(re.sub(r"^\s*///.*\n", "", text, flags=re.MULTILINE)) != [], "nothing is looked at"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_compiler_is_pinned_and_nothing_is_upgradeable(path: Path):
    text = path.read_text("utf-8")
    assert SOLC in text
    assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n")
    assert not re.search(r"delegatecall|selfdestruct|initializer|Upgradeable|tx\.origin", text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_error_is_provoked_by_a_test(path: Path):
    unseen = [name for name in declared(path, "error") if f"{path.stem}.{name}.selector" not in TESTS]
    assert unseen == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_event_is_expected_by_a_test(path: Path):
    unseen = [name for name in declared(path, "event") if not re.search(rf"emit (\w+\.)?{name}\(", TESTS)]
    assert unseen == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_function_is_called_by_a_test(path: Path):
    heads = re.findall(r"^    function (\w+)\(([^{;]*)[{;]", path.read_text("utf-8"), re.MULTILINE)
    public = [name for name, rest in heads if re.search(r"\b(external|public)\b", rest)]
    unseen = [name for name in public if not re.search(rf"\.{name}\b", TESTS)]
    assert unseen == []
