"""The script that makes the artifacts and the runner of the tests see the same contracts, byte for byte."""

from __future__ import annotations

import json

from tests.support.contract_tools import CONTRACTS, Toolchain

BUILD_S = 180


def test_forge_compiles_to_the_bytes_that_are_shipped(toolchain: Toolchain):
    done = toolchain.run(toolchain.forge, "build", "--offline", "--skip", "test", timeout_s=BUILD_S)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shipped = sorted((CONTRACTS / "artifacts").glob("*.json"))
    assert len(shipped) == 7
    for path in shipped:
        ours = json.loads(path.read_text("utf-8"))
        made = CONTRACTS / "out" / f"{path.stem}.sol" / path.name
        theirs = json.loads(made.read_text("utf-8"))
        assert ours["bytecode"] == theirs["bytecode"]["object"], path.stem
        assert ours["deployedBytecode"] == theirs["deployedBytecode"]["object"], path.stem
        assert len(ours["abi"]) == len(theirs["abi"]), path.stem
