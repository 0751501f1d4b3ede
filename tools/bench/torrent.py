"""libtorrent: one process that seeds a file and one that downloads it again and again, encrypted TCP.

``python -m tools.bench.torrent`` is such a process; its first message names its role.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import libtorrent

from tools.bench.child import Child, ChildError, Message, serve
from tools.bench.content import write_random

PIECE_BYTES = 256 * 1024
_FETCH_TIMEOUT_S = 180.0
_POLL_S = 0.002


def session() -> Any:
    """Return a session that speaks encrypted TCP on loopback and nothing else, without limits."""
    forced, rc4 = libtorrent.enc_policy.forced, libtorrent.enc_level.rc4
    return libtorrent.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "out_enc_policy": int(forced),
            "in_enc_policy": int(forced),
            "allowed_enc_level": int(rc4),
            "prefer_rc4": True,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "allow_multiple_connections_per_ip": True,
            "send_buffer_watermark": 4 * 1024 * 1024,
            "send_buffer_watermark_factor": 150,
            "alert_mask": 0,
        }
    )


class TorrentPair:
    """A seeder and a downloader, each in its own process."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._size_bytes = size_bytes
        self._seeder = Child(__name__)
        self._leecher = Child(__name__)
        self._rounds = 0
        try:
            facts = self._seeder.ask(role="seed", folder=str(folder), size_bytes=size_bytes)
            self._leecher.ask(role="leech", torrent=facts["torrent"], port=facts["port"])
        except BaseException:
            self.kill()
            raise

    def fetch(self) -> tuple[float, float]:
        """Download everything into a new folder and remove it.

        Returns:
            Seconds from the first payload byte to the last, and from naming the peer to the last.
        """
        self._rounds += 1
        target = self._folder / f"fetched-{self._rounds}"
        target.mkdir()
        try:
            answer = self._leecher.ask(folder=str(target))
            if (target / "content").stat().st_size != self._size_bytes:
                raise ChildError("libtorrent did not write the whole file")
        finally:
            shutil.rmtree(target)
        return answer["flowing_s"], answer["whole_s"]

    def kill(self) -> None:
        """End both processes at once: neither has anything to save."""
        self._seeder.kill()
        self._leecher.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class _Process:
    def __init__(self) -> None:
        self._session: Any = None
        self._torrent = b""
        self._port = 0

    def answer(self, message: Message) -> Message:
        """Take a role, or download once."""
        if "role" not in message:
            return self._fetch(message["folder"])
        self._session = session()
        if message["role"] == "seed":
            return self._seed(Path(message["folder"]), message["size_bytes"])
        self._torrent, self._port = bytes.fromhex(message["torrent"]), message["port"]
        return {"ready": True}

    def _seed(self, folder: Path, size_bytes: int) -> Message:
        write_random(folder / "content", size_bytes, 99)
        files = libtorrent.list_files(str(folder / "content"))
        torrent = libtorrent.create_torrent(files, PIECE_BYTES, libtorrent.create_torrent.v1_only)
        libtorrent.set_piece_hashes(torrent, str(folder))
        encoded = libtorrent.bencode(torrent.generate())
        parameters = _parameters(encoded, str(folder))
        parameters.flags |= libtorrent.torrent_flags.seed_mode
        self._session.add_torrent(parameters)
        return {"torrent": encoded.hex(), "port": self._session.listen_port()}

    def _fetch(self, folder: str) -> Message:
        began_s = time.monotonic()
        handle = self._session.add_torrent(_parameters(self._torrent, folder))
        deadline = time.monotonic() + _FETCH_TIMEOUT_S
        first_s = None
        asked_s = 0.0
        while True:
            now_s = time.monotonic()
            status = handle.status()
            if first_s is None and status.total_payload_download > 0:
                first_s = now_s
            if status.is_seeding or status.is_finished:
                break
            if first_s is None and now_s - asked_s > 1.0:
                handle.connect_peer(("127.0.0.1", self._port))
                asked_s = now_s
            if now_s > deadline:
                raise ChildError("libtorrent did not finish in time")
            time.sleep(_POLL_S)
        ended_s = time.monotonic()
        self._session.remove_torrent(handle)
        return {"flowing_s": ended_s - (first_s or now_s), "whole_s": ended_s - began_s}


def _parameters(encoded: bytes, folder: str) -> Any:
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(libtorrent.bdecode(encoded))
    parameters.save_path = folder
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    return parameters


if __name__ == "__main__":
    serve(_Process().answer)
