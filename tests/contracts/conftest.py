from __future__ import annotations

import pytest

from tests.support.contract_tools import Toolchain, find_toolchain


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    return find_toolchain()
