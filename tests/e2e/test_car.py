"""A release as one file: written, given to Kubo and back, brought in elsewhere; damage costs what it hit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from marina.cid import RAW, codec_of, parse_cid
from storage.content.car import CarBlock, car_header, car_section, read_car
from tests.support.daemons import Daemon, daemons, music, start_all

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
