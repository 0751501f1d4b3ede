"""A current Kubo reads the trees that Marina builds over leaves of any sizes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import httpx
import pytest

from marina.cid import cid_of, cid_text
from storage.content.car import car_header, car_section
from storage.content.layout import SegmentPlan
from storage.content.unixfs import Leaf, UnixfsFile, build_file
from tests.support.kubo import running_kubo
from tools.bench.kubo_daemon import KuboDaemon

RPC_S = 60.0
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboDaemon]:
    with running_kubo(tmp_path_factory.mktemp("kubo")) as daemon:
        yield daemon


def ask(kubo: KuboDaemon, path: str, *, car: bytes | None = None, **params: str) -> bytes:
    """Call Kubo, with a file if there is one; return the bytes of its answer."""
    files = None if car is None else {"file": ("file.car", car)}
    answer = httpx.post(
        f"{kubo.rpc_url}/api/v0/{path}", params=params, files=files, timeout=RPC_S, trust_env=False
    )
    assert answer.status_code == httpx.codes.OK, answer.text[:500]
    return answer.content


def bring(kubo: KuboDaemon, car: bytes) -> None:
    """Import a file and pin its roots; Kubo says in its answer when a root's tree is not whole."""
    said = ask(kubo, "dag/import", **{"car": car, "pin-roots": "true"}).decode()
    assert '"PinErrorMsg":""' in said, said


def file_of(tree: UnixfsFile, parts: list[bytes]) -> bytes:
    blocks = dict(tree.nodes) | {cid_of(part): part for part in parts}
    sections = (bytes(each) for cid, data in blocks.items() for each in car_section(cid, data))
    return car_header([tree.root]) + b"".join(sections)


@pytest.mark.parametrize("links_max", [1024, 3], ids=["one level", "many levels"])
def test_kubo_reads_a_tree_of_leaves_of_any_sizes_byte_for_byte(kubo: KuboDaemon, links_max: int) -> None:
    chance = Random(links_max)
    for sizes in (
        [1],
        [1, MIB, 2, 256 * 1024 + 1, 77, MIB, 1],
        [chance.randint(1, 30_000) for _ in range(100)],
        list(SegmentPlan(5 * MIB + 7).lengths()),
    ):
        parts = [chance.randbytes(size) for size in sizes]
        tree = build_file([Leaf(cid_of(part), len(part), len(part)) for part in parts], links_max=links_max)
        bring(kubo, file_of(tree, parts))
        assert ask(kubo, "cat", arg=cid_text(tree.root)) == b"".join(parts)
        middle = sum(sizes) // 2
        assert ask(kubo, "cat", arg=cid_text(tree.root), offset=str(middle)) == b"".join(parts)[middle:]
