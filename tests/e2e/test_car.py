"""A release as one file: written, given to Kubo and back, brought in elsewhere; damage costs what it hit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from marina.cid import DAG_CBOR, RAW, cid_of, codec_of, parse_cid
from storage.content.car import CarBlock, car_header, car_section, read_car
from tests.support.daemons import Daemon, daemons, music, start_all
from tests.support.kubo import running_kubo

TITLES = ("Harbour Lights", "Northern Ferry")


class Stage:
    """An artist with a release, a listener who knows nobody, and the release as a file."""

    def __init__(self, root: Path, artist: Daemon, listener: Daemon) -> None:
        self.root, self.artist, self.listener = root, artist, listener
        self.files = music(root / "music", *TITLES)
        folder = str(self.files[0].parent)
        self.done = artist.run("publish", folder, "--title", "Tides", "--artist", "Ada Moles")
        self.car = root / "tides.car"
        self.written = artist.run("release", "export", self.done["release"], str(self.car))

    def sounds(self, number: int) -> bool:
        """Return whether the listener plays a track's own bytes."""
        track = self.done["tracks"][number]["id"]
        session = self.listener.run("play", track, "--url", "--quality", "original")
        return bool(httpx.get(session["url"], trust_env=False).content == self.files[number].read_bytes())

    def bring(self, parts: list[bytes], name: str) -> Any:
        """Write a file of these parts and import it; return the answer of the command."""
        path = self.root / name
        path.write_bytes(b"".join(parts))
        return self.listener.try_run("release", "import", str(path))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("car")
    with daemons(root, "artist", "listener") as (artist, listener):
        start_all(artist, listener)
        yield Stage(root, artist, listener)


def test_the_file_holds_every_block_once_and_names_the_release_as_its_root(stage: Stage) -> None:
    reader = read_car(stage.car.read_bytes())
    blocks = list(reader)
    assert reader.roots == (parse_cid(stage.done["cid"]),)
    assert all(isinstance(each, CarBlock) for each in blocks)
    assert len({each.cid for each in blocks}) == len(blocks) == stage.written["blocks"]
    assert stage.written["bytes"] == stage.car.stat().st_size
    again = stage.artist.try_run("release", "export", stage.done["release"], str(stage.car))
    assert (again.code, "--force" in again.error) == (2, True)
    stage.artist.run("release", "export", stage.done["release"], str(stage.car), "--force")
    assert not list(stage.root.glob("*.part"))


def test_a_wrong_block_is_named_and_what_is_missing_is_counted_and_nothing_else_is_lost(stage: Stage) -> None:
    reader = read_car(stage.car.read_bytes())
    blocks = list(reader)
    victim = next(each for each in blocks if codec_of(each.cid) == RAW and len(each.data) > 10_000)
    parts = [car_header(reader.roots)]
    for each in reversed(blocks):  # manifests last, as other programs may have it
        data = bytes(len(each.data)) if each is victim else each.data
        parts += map(bytes, car_section(each.cid, data))
    found = stage.bring(parts, "wounded.car")
    assert found.code == 8, found
    assert found.data["missing"] == 1
    (fault,) = found.data["faults"]
    assert "do not hash" in fault["why"]
    assert stage.bring(parts, "wounded.car").data["missing"] == 1, "nothing is lost by a second try"


def test_a_truncated_file_gives_what_is_whole_and_the_whole_one_the_rest(stage: Stage) -> None:
    data = stage.car.read_bytes()
    found = stage.bring([data[: 2 * len(data) // 3]], "cut.car")
    assert found.code in (0, 8), found
    assert "ends inside a block" in found.data["error"]
    done = stage.listener.run("release", "import", str(stage.car))
    assert (done["missing"], done["tracks"], done["faults"]) == (0, 2, [])
    assert stage.sounds(0)
    assert stage.sounds(1)
    pins = stage.listener.run("pin", "ls")["items"]
    assert [each["why"] for each in pins if each["id"] == stage.done["release"]] == ["pinned"]


def test_a_flood_of_tiny_nodes_is_refused_before_it_fills_the_memory(stage: Stage) -> None:
    nodes = [b"\x1a" + (1 << 31 | number).to_bytes(4) for number in range(270_000)]
    sections = [bytes(part) for data in nodes for part in car_section(cid_of(data, DAG_CBOR), data)]
    before = _peak_mib(stage.listener.pid)
    found = stage.bring([stage.car.read_bytes(), *sections], "flood.car")
    assert found.code != 0
    assert "more manifests than any release" in found.error
    assert _peak_mib(stage.listener.pid) - before < 128


def _peak_mib(pid: int) -> float:
    """Return the most memory that a process ever held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


def test_what_is_no_release_is_said_in_one_sentence(stage: Stage) -> None:
    reader = read_car(stage.car.read_bytes())
    blocks = [each for each in reader if isinstance(each, CarBlock)]
    other = next(each for each in blocks if codec_of(each.cid) == RAW)
    wrong = [
        car_header([other.cid]),
        *(bytes(part) for each in blocks for part in car_section(each.cid, each.data)),
    ]
    for parts, words in (
        (wrong, "holds no release"),
        ([b"not a car"], "CAR file"),
        ([car_header(reader.roots)], "holds no release"),
        (
            [car_header(reader.roots), *map(bytes, car_section(blocks[0].cid, blocks[0].data))],
            "lacks 2 of the 2",
        ),
    ):
        found = stage.bring(parts, "wrong.car")
        assert found.code != 0
        assert words in found.error
    absent = stage.listener.try_run("release", "import", str(stage.root / "nothing.car"))
    assert (absent.code, "cannot be read" in absent.error) == (2, True)
    part = stage.listener.try_run("release", "export", stage.done["release"], "/nowhere/x.car")
    assert (part.code, "no folder" in part.error) == (2, True)


def test_a_hundred_thousand_tiny_blocks_that_are_none_of_a_release_are_read_over(stage: Stage) -> None:
    before = stage.listener.run("repo", "stat")["blocks"]
    junk = (number.to_bytes(4) for number in range(100_000))
    parts = [stage.car.read_bytes()]
    parts += [bytes(piece) for data in junk for piece in car_section(cid_of(data), data)]
    found = stage.bring(parts, "crowded.car")
    assert found.code == 0, found
    assert found.data["missing"] == 0
    assert stage.listener.run("repo", "stat")["blocks"] < before + 1000


def test_kubo_imports_what_we_export_and_we_import_what_kubo_exports(
    stage: Stage, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = stage.done["cid"]
    back = tmp_path / "back.car"
    with running_kubo(tmp_path) as kubo:
        url = f"{kubo.rpc_url}/api/v0"
        with stage.car.open("rb") as file:
            done = httpx.post(f"{url}/dag/import", files={"file": file}, timeout=60, trust_env=False)
        assert done.status_code == 200, done.text
        assert f'"{root}"' in done.text
        assert '"PinErrorMsg":""' in done.text
        pinned = kubo.rpc("pin/ls", arg=root, type="recursive")
        assert root in pinned["Keys"]
        exported = httpx.post(
            f"{url}/dag/export", params={"arg": root, "offline": "true"}, timeout=60, trust_env=False
        )
        back.write_bytes(exported.content)
    ours, kubos = read_car(stage.car.read_bytes()), read_car(back.read_bytes())
    assert kubos.roots == ours.roots
    assert {each.cid: each.data for each in kubos} == {each.cid: each.data for each in ours}
    with daemons(tmp_path_factory.mktemp("stranger"), "stranger") as (stranger,):
        start_all(stranger)
        brought = stranger.run("release", "import", str(back))
        assert (brought["missing"], brought["cid"]) == (0, root)
        session = stranger.run("play", stage.done["tracks"][0]["id"], "--url", "--quality", "original")
        assert httpx.get(session["url"], trust_env=False).content == stage.files[0].read_bytes()
