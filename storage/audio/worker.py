"""One decoder process seen from the daemon: started, given one job at a time, killed when in doubt."""

from __future__ import annotations

import array
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from marina.errors import MalformedError
from marina.schema import decode_record, encode_record
from storage.audio.errors import (
    AudioError,
    AudioTimeoutError,
    AudioTooLargeError,
    DamagedAudioError,
    NotAudioError,
    SandboxUnavailableError,
)
from storage.audio.records import (
    FAIL_TOO_LARGE,
    FAIL_UNSUPPORTED,
    FRAME_BYTES_MAX,
    KIND_CHUNK,
    KIND_FAILURE,
    KIND_READY,
    KIND_RESULT,
    Confinement,
    Job,
    Reply,
)
from storage.audio.tags import sanitise

LAYERS = frozenset({"rlimits", "no_new_privs", "landlock", "seccomp"})
START_TIMEOUT_S = 30.0
REAP_TIMEOUT_S = 5.0
_DETAIL_BYTES_MAX = 300


@dataclass(frozen=True, slots=True)
class Budget:
    """What one job may use: processor seconds, wall-clock seconds, and bytes of output."""

    cpu_s: int
    wall_s: float
    output_bytes: int


class AudioWorker:
    """A sealed decoder process. Not shared: one job at a time. After any exception it must be stopped.

    Attributes:
        jobs_done: started so far, failures included.
        is_in_step: the last job ended with an orderly answer, so another one can follow.
        confinement: the layers that hold.
    """

    def __init__(self, process: trio.Process, sock: trio.socket.SocketType) -> None:
        self._process = process
        self._socket = sock
        self.jobs_done = 0
        self.is_in_step = True
        self.confinement = Confinement((), ())

    @classmethod
    async def start(cls, *, memory_bytes: int, allow_weak_sandbox: bool) -> AudioWorker:
        """Start a process and wait until it is warm and sealed.

        Raises:
            SandboxUnavailableError: it does not start, or a layer is missing and that is not allowed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [sys.executable, "-I", "-B", "-m", "storage.audio.child", str(memory_bytes)]
        with theirs:
            try:
                process = await trio.lowlevel.open_process(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
            except OSError as err:
                ours.close()
                raise SandboxUnavailableError(
                    f"The audio decoder cannot be started: {err.strerror}."
                ) from err
        worker = cls(process, trio.socket.from_stdlib_socket(ours))
        try:
            with trio.fail_after(START_TIMEOUT_S):
                worker.confinement = await worker._handshake()
            worker._require_layers(allow_weak_sandbox=allow_weak_sandbox)
        except trio.TooSlowError as err:
            await worker.stop()
            raise SandboxUnavailableError(
                f"The audio decoder did not get ready within {START_TIMEOUT_S:.0f} s: try again when"
                " the machine is less busy."
            ) from err
        except BaseException:
            await worker.stop()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Process id, for limits and tests."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    async def run(
        self, job: Job, fd: int, budget: Budget, write: Callable[[bytes], Awaitable[None]] | None = None
    ) -> tuple[bytes, int]:
        """Do one job on a read-only descriptor and return (result record, bytes of output).

        The descriptor's offset is neither used nor moved. Output goes to ``write`` as it comes.

        Raises:
            AudioError: the file's fault; see the subclasses.
        """
        self.jobs_done += 1
        self.is_in_step = False
        self._grant_cpu(budget.cpu_s)
        try:
            with trio.fail_after(budget.wall_s):
                return await self._converse(job, fd, budget, write)
        except trio.TooSlowError as err:
            raise AudioTimeoutError(
                f"The audio file was not decoded within {budget.wall_s:.0f} s: export it again, or try later."
            ) from err
        except (MalformedError, OSError, trio.BrokenResourceError) as err:
            raise await self._verdict(budget) from err

    async def stop(self) -> None:
        """Kill the process and reap it; safe to call twice."""
        self._socket.close()
        with trio.CancelScope(shield=True):
            if self._process.poll() is None:
                self._process.kill()
            with trio.move_on_after(REAP_TIMEOUT_S):
                await self._process.wait()

    async def _converse(
        self, job: Job, fd: int, budget: Budget, write: Callable[[bytes], Awaitable[None]] | None
    ) -> tuple[bytes, int]:
        frame = encode_record(job)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]).tobytes())]
        data = len(frame).to_bytes(4) + frame
        sent = await self._socket.sendmsg([data], rights)
        while sent < len(data):
            sent += await self._socket.send(data[sent:])
        output_bytes = 0
        while True:
            reply = await self._receive()
            self.is_in_step = reply.kind in (KIND_RESULT, KIND_FAILURE)
            if reply.kind == KIND_RESULT:
                return reply.body, output_bytes
            if reply.kind == KIND_FAILURE:
                raise _failure(reply)
            if reply.kind != KIND_CHUNK or write is None:
                raise MalformedError("the decoder sent what was not asked for")
            output_bytes += len(reply.body)
            if output_bytes > budget.output_bytes:
                raise AudioTooLargeError(
                    f"The encoding of the file grew above {budget.output_bytes} bytes, which its length"
                    " does not explain: export it again."
                )
            await write(reply.body)

    async def _handshake(self) -> Confinement:
        try:
            reply = await self._receive()
            if reply.kind == KIND_READY:
                return decode_record(Confinement, reply.body)
        except (MalformedError, OSError) as err:
            with trio.move_on_after(REAP_TIMEOUT_S):
                await self._process.wait()
            code = self._process.poll()
            raise SandboxUnavailableError(
                f"The audio decoder stopped while it was started (exit status {code}): reinstall Marina."
            ) from err
        detail = sanitise(reply.body.decode(errors="replace"), _DETAIL_BYTES_MAX)
        raise SandboxUnavailableError(f"The audio decoder cannot be used: {detail}. Reinstall Marina.")

    def _require_layers(self, *, allow_weak_sandbox: bool) -> None:
        if set(self.confinement.layers) >= LAYERS or allow_weak_sandbox:
            return
        why = sanitise("; ".join(self.confinement.missing), _DETAIL_BYTES_MAX)
        raise SandboxUnavailableError(
            f"The audio decoder cannot be confined on this machine ({why}), so no audio file is opened. "
            "Use Linux 5.13 or newer with Landlock and install libseccomp2, or set allow_weak_sandbox to do"
            " without."
        )

    async def _receive(self) -> Reply:
        size = int.from_bytes(await self._receive_exactly(4))
        if size > FRAME_BYTES_MAX:
            raise MalformedError(f"the decoder sent a frame of {size} bytes")
        return decode_record(Reply, await self._receive_exactly(size))

    async def _receive_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await self._socket.recv(size - len(data))
            if not part:
                raise MalformedError("the decoder went away")
            data += part
        return bytes(data)

    def _grant_cpu(self, cpu_s: int) -> None:
        """Move the process's own limit, so that the kernel ends it even while we are busy."""
        if not hasattr(resource, "prlimit"):
            return  # not Linux: the limit set at the start and the deadline remain
        soft, hard = resource.prlimit(self.pid, resource.RLIMIT_CPU)
        wanted = int(cpu_seconds(self.pid)) + 1 + cpu_s
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if limit != soft:
            resource.prlimit(self.pid, resource.RLIMIT_CPU, (limit, hard))

    async def _verdict(self, budget: Budget) -> AudioError:
        """Return what a broken conversation means, by how the process ended."""
        with trio.move_on_after(REAP_TIMEOUT_S):
            await self._process.wait()
        status = self._process.poll()
        if status == -signal.SIGXCPU:
            return AudioTimeoutError(
                f"The audio file used more than {budget.cpu_s} s of processor time: export it again."
            )
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return DamagedAudioError(
            f"The audio file is damaged: the decoder ended on it ({how}). Export it again."
        )


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, user and system."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _failure(reply: Reply) -> AudioError:
    detail = sanitise(reply.body.decode(errors="replace"), _DETAIL_BYTES_MAX)
    if reply.code == FAIL_UNSUPPORTED:
        return NotAudioError(
            f"The audio file cannot be published: {detail}. Convert it to FLAC, WAV or Opus."
        )
    if reply.code == FAIL_TOO_LARGE:
        return AudioTooLargeError(f"The audio file is too large: {detail}. Publish it in parts.")
    return DamagedAudioError(f"The audio file is damaged: {detail}. Export it again from your project.")
