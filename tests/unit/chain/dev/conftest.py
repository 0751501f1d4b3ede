from __future__ import annotations

import pytest

from tests.support.dev_engine import DevEngine


@pytest.fixture
def chain(tmp_path):
    made = DevEngine(tmp_path)
    yield made
    made.close()


@pytest.fixture
def funded(chain):
    chain.fund()
    return chain
