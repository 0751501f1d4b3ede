"""A disk that lies: damaged ciphertext is fetched again and never served, a damaged database is named."""

from __future__ import annotations

from pathlib import Path

import httpx
import trio

from storage.blocks.embedded import EmbeddedBlockStore
from storage.kv import LevelKv
from storage.quota import Quota
from tests.support.daemons import NEEDS_FILES, PASSPHRASE, daemons, music, start_all


def flip(path: Path, at: int) -> None:
    """Flip one bit of every byte in a short run of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        data = file.read(64)
        file.seek(at)
        file.write(bytes(byte ^ 1 for byte in data))


@NEEDS_FILES
def test_damaged_ciphertext_is_fetched_again_from_a_peer_and_never_served(tmp_path: Path) -> None:
    with daemons(tmp_path, "artist", "keeper") as (artist, keeper):
        start_all(artist, keeper)
        song = music(tmp_path / "music", "Breakwater")[0]
        done = artist.run("publish", str(song))
        link = artist.run("share", done["release"])["link"]
        keeper.run("pin", "add", link)
        keeper.stop()
        sizes = {path: path.stat().st_size for path in (keeper.home / "blobs").rglob("*.enc")}
        whole = [path for path, size in sizes.items() if size > song.stat().st_size]
        assert len(whole) == 2  # the stream tier is the source itself, so both are as long
        for path in whole:
            flip(path, 1000)
            flip(path, sizes[path] - 1000)

        # Nobody else has it: what is damaged is named, and not one wrong byte goes out.
        artist.stop()
        keeper.start()
        found = keeper.run("repo", "verify", code=8)
        assert found["damaged"] == 4
        assert found["healed"] == 0
        url = keeper.run("play", done["release"], "--url", "--quality", "original", "--offline")["url"]
        refused = httpx.get(url, trust_env=False, timeout=40)
        assert refused.status_code >= 500
        assert "not on this node" in refused.json()["message"]
        sound = httpx.get(url, headers={"range": "bytes=80000-80999"}, trust_env=False, timeout=40)
        assert sound.content == song.read_bytes()[80_000:81_000]

        # A peer has it again.
        artist.start()
        keeper.run("peers", "connect", artist.address())
        healed = keeper.run("repo", "verify", "--heal")
        assert (healed["damaged"], healed["healed"]) == (4, 4)
        assert keeper.run("repo", "verify")["damaged"] == 0
        artist.stop()
        url = keeper.run("play", done["release"], "--url", "--quality", "original", "--offline")["url"]
        assert httpx.get(url, trust_env=False, timeout=40).content == song.read_bytes()


def forget_blocks(home: Path) -> int:
    """Remove every manifest and keybox and one rendition; return how many."""

    async def forget() -> int:
        kv = LevelKv(home / "meta")
        store = EmbeddedBlockStore(kv=kv, directory=home / "blobs", quota=Quota(1 << 30))
        await store.open()
        roots = [cid async for cid in store.roots()]
        small = [cid async for cid in store.small_cids()]
        gone = [cid for cid in (*small, roots[0]) if await store.delete(cid)]
        await store.close()
        await kv.close()
        return len(gone)

    return trio.run(forget)


@NEEDS_FILES
def test_manifests_and_keyboxes_that_are_gone_are_fetched_again_and_named(tmp_path: Path) -> None:
    with daemons(tmp_path, "artist", "keeper") as (artist, keeper):
        start_all(artist, keeper)
        song = music(tmp_path / "music", "Breakwater")[0]
        done = artist.run("publish", str(song))
        keeper.run("pin", "add", artist.run("share", done["release"])["link"])
        named = keeper.run("repo", "stat", "--why")["roots"]
        assert {each["title"] for each in named} == {"Breakwater"}
        assert {each["release"] for each in named} == {done["release"]}
        assert {"release", "track", "keybox", "preview", "stream", "original"} <= {
            each["kind"] for each in named
        }
        text = keeper.try_run("repo", "stat", "--why", is_json=False).out
        assert "Breakwater (release)" in text or "Breakwater — " in text
        keeper.stop()
        count = forget_blocks(keeper.home)
        artist.stop()
        keeper.start()
        alone = keeper.run("repo", "verify", "--heal", code=8)
        assert (alone["damaged"], alone["healed"], alone["not_found"]) == (count, 0, count)
        artist.start()
        keeper.run("peers", "connect", artist.address())
        healed = keeper.try_run("repo", "verify", "--heal", is_json=False)
        assert (healed.code, "0 not found" in healed.out) == (0, True), healed
        assert keeper.run("repo", "verify")["damaged"] == 0
        artist.stop()
        url = keeper.run("play", done["release"], "--url", "--quality", "original", "--offline")["url"]
        assert httpx.get(url, trust_env=False, timeout=40).content == song.read_bytes()


@NEEDS_FILES
def test_publishing_again_repairs_from_the_originals(tmp_path: Path) -> None:
    with daemons(tmp_path, "artist") as (artist,):
        artist.init()
        artist.start()
        song = music(tmp_path / "music", "Breakwater")[0]
        done = artist.run("publish", str(song))
        artist.stop()
        count = forget_blocks(artist.home)
        for path in (artist.home / "blobs").rglob("*.enc"):
            flip(path, 1000)
        artist.start()
        assert artist.run("repo", "verify", code=8)["damaged"] > count
        again = artist.try_run("publish", str(song), is_json=False)
        assert (again.code, "repaired" in again.out) == (0, True), again
        assert artist.run("repo", "verify")["damaged"] == 0
        assert "nothing changed" in artist.try_run("publish", str(song), is_json=False).out

        # Of a release that was updated since, it is the version in force that is told of again.
        other = music(tmp_path / "other", "Low Tide", "Undertow")[1]
        updated = artist.run("release", "update", done["release"], "--track", "1", str(other))
        unchanged = artist.run("publish", str(song))
        assert (unchanged["cid"], unchanged["version"]) == (updated["cid"], 2)


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    with daemons(tmp_path, "home") as (node,):
        node.init()
        node.start()
        node.run("publish", str(music(tmp_path / "music", "Breakwater")[0]))
        node.stop()
        meta = node.home / "meta"
        kept = {path: path.read_bytes() for path in meta.iterdir() if path.is_file()}
        manifest = next(meta.glob("MANIFEST-*"))
        for path, damage in (
            (manifest, lambda data: bytes(byte ^ 0x55 for byte in data)),
            (meta / "CURRENT", lambda _: b"MANIFEST-999999\n"),
        ):
            path.write_bytes(damage(kept[path]))
            refused = node.try_run("daemon", "--passphrase-fd", "0", secret=PASSPHRASE)
            assert refused.code in (1, 8), refused
            assert "Traceback" not in refused.err
            said = refused.out + refused.err
            assert "damaged" in said
            assert "marina" in said.split("damaged", 1)[1], "it says what to do"
            for file, data in kept.items():
                file.write_bytes(data)
        node.start()
        assert len(node.run("release", "list")["items"]) == 1
