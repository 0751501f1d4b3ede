"""Tests with a peer that CI installs meanwhile (tools/bench/peers.py) come last."""

from __future__ import annotations

import pytest

_PEERS = ("kubo", "helia", "ipfs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: any(each in item.nodeid for each in _PEERS))
