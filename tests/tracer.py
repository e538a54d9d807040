"""Stops a process, and all that it starts, at each system call that changes a file.

A filter in the kernel (seccomp(2), "SECCOMP_RET_TRACE") stops exactly those calls, so that what is
traced runs at nearly full speed. At each stop the tracer decides: go on, kill before the call is
made, have it fail with an errno and do nothing, or wait. Linux on x86-64 only; see ``why_not``.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What is looked at: number on x86-64 (asm/unistd_64.h), and which arguments are an open file, or
# a path with the folder that it is relative to (None: the current one). Path arguments come last.
_FD, _AT = "fd", "at"
_CALLS: dict[int, tuple[str, str, tuple[int | tuple[int | None, int], ...]]] = {
    1: ("write", _FD, (0,)),
    2: ("open", _AT, ((None, 0),)),
    16: ("ficlone", _FD, (0,)),
    18: ("pwrite64", _FD, (0,)),
    20: ("writev", _FD, (0,)),
    40: ("sendfile", _FD, (0,)),
    74: ("fsync", _FD, (0,)),
    75: ("fdatasync", _FD, (0,)),
    76: ("truncate", _AT, ((None, 0),)),
    77: ("ftruncate", _FD, (0,)),
    82: ("rename", _AT, ((None, 0), (None, 1))),
    83: ("mkdir", _AT, ((None, 0),)),
    84: ("rmdir", _AT, ((None, 0),)),
    85: ("creat", _AT, ((None, 0),)),
    86: ("link", _AT, ((None, 0), (None, 1))),
    87: ("unlink", _AT, ((None, 0),)),
    88: ("symlink", _AT, ((None, 1),)),
    90: ("chmod", _AT, ((None, 0),)),
    91: ("fchmod", _FD, (0,)),
    257: ("open", _AT, ((0, 1),)),
    258: ("mkdir", _AT, ((0, 1),)),
    263: ("unlink", _AT, ((0, 1),)),
    264: ("rename", _AT, ((0, 1), (2, 3))),
    265: ("link", _AT, ((0, 1), (2, 3))),
    266: ("symlink", _AT, ((1, 2),)),
    268: ("chmod", _AT, ((0, 1),)),
    277: ("sync_file_range", _FD, (0,)),
    280: ("utimens", _AT, ((0, 1),)),
    285: ("fallocate", _FD, (0,)),
    296: ("pwritev", _FD, (0,)),
    306: ("syncfs", _FD, (0,)),
    316: ("rename", _AT, ((0, 1), (2, 3))),
    326: ("copy_file_range", _FD, (2,)),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_OPEN_FLAGS = {2: 1, 257: 2}  # the argument that has the flags
_IOCTL, _FICLONE = 16, 0x40049409

_SEIZE, _CONT, _GETREGS, _SETREGS, _LISTEN = 0x4206, 7, 12, 13, 0x4208
# FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL: ptrace(2), "PTRACE_SETOPTIONS"
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_WALL = 0x40000000
_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2


class _Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in (
            "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx",
            "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base",
            "gs_base", "ds", "es", "fs", "gs",
        )
    ]  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]


class Call(NamedTuple):
    """A call that is about to be made: by which process, and what it would change."""

    name: str
    pid: int
    paths: tuple[str, ...]
    number: int  # of all that the tracer was asked about in this run, from 0


class Kill(NamedTuple):
    """Kill these processes (none named: all) with SIGKILL; the call is not made."""

    pids: tuple[int, ...] = ()


class Fail(NamedTuple):
    """The call is not made, and fails with this errno."""

    errno: int


class Wait(NamedTuple):
    """The call is made after so many seconds."""

    seconds: float


Decision = Kill | Fail | Wait | None


@dataclass
class Ended:
    """How a run ended: its first process, the wait status of that, the calls asked about."""

    pid: int
    status: int = 0
    calls: list[Call] = field(default_factory=list)
    killed: bool = False

    @property
    def exit_code(self) -> int:
        """As a shell has it: negative for a signal."""
        return os.waitstatus_to_exitcode(self.status)


def _filter() -> bytes:
    """The BPF program (linux/filter.h): TRACE for what changes a file, ALLOW for the rest."""
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    allow, trace = 0x7FFF0000, 0x7FF00000

    def op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, k)

    def low(argument: int) -> bytes:
        return op(load, 16 + 8 * argument)

    code = [op(load, 0)]
    for number, argument in _OPEN_FLAGS.items():
        code += [op(equal, number, 0, 4), low(argument), op(any_bit, _WRITING, 0, 1)]
        code += [op(give, trace), op(give, allow)]
    code += [op(equal, _IOCTL, 0, 4), low(1), op(equal, _FICLONE, 0, 1)]
    code += [op(give, trace), op(give, allow)]
    for number in _CALLS:
        if number not in _OPEN_FLAGS and number != _IOCTL:
            code += [op(equal, number, 0, 1), op(give, trace)]
    return b"".join([*code, op(give, allow)])


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc


def _ptrace(request: int, pid: int, address: int = 0, data: Any = 0) -> None:
    if _libc().ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"ptrace {request:#x}")


def _install_filter() -> None:
    code = _filter()
    held = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(held))
    libc = _libc()
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


@functools.cache
def why_not() -> str:
    """Why nothing can be traced here, by trying; "" where it can."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return "the tracer knows Linux on x86-64 only"
    try:
        done = run(lambda: os._exit(os.path.isdir("/") - 1), lambda _: None, "/")
    except OSError as error:
        return f"tracing is not allowed here: {error}"
    return "" if done.status == 0 else "tracing is not allowed here"


def run(start: Callable[[], object], decide: Callable[[Call], Decision], below: str) -> Ended:
    """Run ``start`` in a child, and ask ``decide`` before each call that changes a file ``below``.

    ``start`` ends the child by itself (os._exit or exec); what is left of its descendants when it
    has ended is waited for. Call it in a process without threads and without other children.
    """
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            os.read(ready, 1)
            os.close(ready)
            _install_filter()
            start()
        except BaseException:  # noqa: BLE001 (shown, and told by the exit code)
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(70)
    os.close(ready)
    try:
        _ptrace(_SEIZE, child, 0, _OPTIONS)
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(go)
    return _Follower(child, decide, below).follow()


class _Follower:
    """One run: the processes and threads that are traced, and what is asked at their stops."""

    def __init__(self, child: int, decide: Callable[[Call], Decision], below: str) -> None:
        self.child = child
        self.decide = decide
        self.below = below.rstrip("/") + "/"
        self.alive = {child}
        self.ended = Ended(child)

    def follow(self) -> Ended:
        while True:
            try:
                pid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                return self.ended
            if not os.WIFSTOPPED(status):
                self.alive.discard(pid)
                if pid == self.child:
                    self.ended.status = status
                continue
            self.alive.add(pid)
            try:
                self._resume(pid, status)
            except ProcessLookupError:
                pass  # it was killed meanwhile; its end is reported next

    def _resume(self, pid: int, status: int) -> None:
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == _EVENT_SECCOMP:
            self._ask(pid)
            _ptrace(_CONT, pid)
        elif event == _EVENT_STOP and number != signal.SIGTRAP:
            _ptrace(_LISTEN, pid)
        elif event:
            _ptrace(_CONT, pid)
        else:
            _ptrace(_CONT, pid, 0, int(number))

    def _ask(self, pid: int) -> None:
        registers = _Registers()
        _ptrace(_GETREGS, pid, 0, ctypes.byref(registers))
        name, paths = _changes(pid, registers)
        inside = tuple(path for path in paths if path.startswith(self.below))
        if not inside:
            return
        call = Call(name, pid, inside, len(self.ended.calls))
        self.ended.calls.append(call)
        decision = self.decide(call)
        if isinstance(decision, Wait):
            time.sleep(decision.seconds)
        elif isinstance(decision, Fail):
            registers.orig_rax = 2**64 - 1
            registers.rax = 2**64 - decision.errno
            _ptrace(_SETREGS, pid, 0, ctypes.byref(registers))
        elif isinstance(decision, Kill):
            self.ended.killed = True
            for victim in decision.pids or tuple(self.alive):
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def _changes(pid: int, registers: _Registers) -> tuple[str, list[str]]:
    """The call's name, and the absolute paths that it would change."""
    name, kind, arguments = _CALLS[registers.orig_rax]
    values = (
        registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9,
    )  # fmt: skip
    if kind == _FD:
        return name, [_link(f"/proc/{pid}/fd/{values[at] & 0xFFFFFFFF}") for at in arguments]
    paths = []
    for at in arguments:
        assert isinstance(at, tuple)
        folder, path = at
        text = _text(pid, values[path])
        if not text.startswith("/"):
            here = values[folder] & 0xFFFFFFFF if folder is not None else 0xFFFFFF9C
            place = "cwd" if here == 0xFFFFFF9C else f"fd/{here}"
            text = os.path.join(_link(f"/proc/{pid}/{place}"), text)
        paths.append(os.path.normpath(text))
    return name, paths


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(pid: int, address: int) -> str:
    """The string at an address of another process, up to its NUL."""
    if not address:
        return ""
    found = b""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        while b"\0" not in found and len(found) < 4096:
            memory.seek(address + len(found))
            piece = memory.read(256 - (address + len(found)) % 256)
            if not piece:
                break
            found += piece
    return os.fsdecode(found.partition(b"\0")[0])
