"""Closing the decoder process: after ``seal`` it can compute, read its one file and talk to its parent.

Layers: resource limits; no new privileges; Landlock with an empty ruleset (no path can be opened);
a seccomp allow-list (no open, socket, fork, exec, signal handler or executable memory). The order
matters: everything that is ever needed must be imported before. Source: design, security §5.4.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from storage.audio.records import Confinement

CPU_HARD_S = 2 * 3600
CPU_FIRST_S = 20
DESCRIPTORS_MAX = 16
LAYERS = ("rlimits", "no_new_privs", "landlock", "seccomp")
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_PROT_EXEC = 0x4
_ALLOWED = (
    "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "exit", "exit_group", "futex",
    "getpid", "getrandom", "gettid", "gettimeofday", "lseek", "madvise", "mremap", "munmap", "pread64",
    "recvmsg", "restart_syscall", "rt_sigreturn", "sched_yield",
)  # fmt: skip


def seal(*, memory_bytes: int) -> Confinement:
    """Give up everything for good and return which layers hold; a missing one is reported, not raised."""
    missing: list[str] = []
    layers: list[str] = []
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("rlimits", partial(_limit, memory_bytes)),
        ("no_new_privs", _no_new_privileges),
        ("landlock", _close_files),
        ("seccomp", _close_syscalls),
    )
    for name, close in steps:
        try:
            close()
        except (OSError, ImportError, RuntimeError, AttributeError, ValueError) as err:
            missing.append(f"{name}: {err}"[:200])
        else:
            layers.append(name)
    return Confinement(tuple(layers), tuple(missing))


def _limit(memory_bytes: int) -> None:
    """Set the limits; the parent moves the soft processor limit with every job."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_FIRST_S, CPU_HARD_S))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_MAX, DESCRIPTORS_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # macOS counts differently; seccomp stops fork anyway
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _require_one_thread() -> None:
    """Both layers below bind the calling thread only, so a second one would stay free."""
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - pathlib would be one more import
    if threads != 1:
        raise RuntimeError(f"the process has {threads} threads instead of one")


def _close_files() -> None:
    from landlock import Ruleset

    _require_one_thread()
    ctypes.set_errno(0)  # the package takes a stale errno for a failure
    ruleset: Any = Ruleset()
    ruleset.apply()
    os.close(ruleset._fd)  # noqa: SLF001 - the package keeps it open otherwise


def _close_syscalls() -> None:
    import pyseccomp

    filters = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    filters.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for name in _ALLOWED:
        filters.add_rule(pyseccomp.ALLOW, name)
    without_exec = pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _PROT_EXEC, 0)
    for name in ("mmap", "mprotect"):
        filters.add_rule(pyseccomp.ALLOW, name, without_exec)
    # a stream socket that is connected needs no address, and must not be given one
    filters.add_rule(pyseccomp.ALLOW, "sendto", pyseccomp.Arg(4, pyseccomp.EQ, 0))
    filters.load()


def import_layers() -> None:
    """Import what ``seal`` needs while it still can; what is absent is reported by ``seal``."""
    for name in ("landlock", "pyseccomp"):
        with contextlib.suppress(ImportError, RuntimeError, OSError, AttributeError):
            __import__(name)
    sys.stdout.flush()
