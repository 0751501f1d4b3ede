"""What a node that has no chain and plays nothing does not load: memory is all it would cost."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "web3",
    "eth_abi",
    "eth_account",
    "eth_utils",
    "eth",
    "rlp",
    "pydantic",
    "av",
    "governance",
    "aiohttp",
)
PROGRAM = """
import sys
import node.daemon
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_an_idle_node_loads_neither_the_chain_nor_a_decoder():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=60)
    loaded = set(done.stdout.decode().split())
    assert "node" in loaded
    assert sorted(loaded & set(HEAVY)) == []
