"""Processes of their own that need not import anything: each is forked from one that has imported everything.

Importing takes a process of ours longer than most of what a test asks of it. Where the start itself is the point (what
is imported, what variables do that Python reads then), use `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

from tests.waiting import PATIENCE

__all__ = ["Forked", "run_to_end"]

_ROOT = Path(__file__).parents[1]


class Forked(subprocess.Popen[str]):
    """``vectorferry …``, ``python -c …`` or ``python -m …``, as `subprocess.Popen` starts them, but quicker.

    Of `Popen`'s arguments it takes `args` (a list), `stdin`, `stdout`, `stderr`, `cwd` and `env`; streams are text.
    """

    def __init__(self, args: list[str], **how: Any) -> None:
        super().__init__(args, **{"text": True, **how})

    def _execute_child(self, args: list[str], *how: Any) -> None:
        cwd, env, pipes = how[4], how[5], how[9:15]
        streams = [given if given != -1 else own for own, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        what = {"args": args, "cwd": os.fspath(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
        self._keeper = _server().fork(what, streams)
        self.pid = int(_line(self._keeper))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        """Its end, as `os.waitpid` would tell it to its parent."""
        if flags & os.WNOHANG and not select.select([self._keeper], [], [], 0)[0]:
            return 0, 0
        with self._keeper:
            return self.pid, int(_line(self._keeper))

    def _internal_poll(self, *_how: Any, **_more: Any) -> int | None:
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None and (end := self._try_wait(os.WNOHANG))[0]:
                self._handle_exitstatus(end[1])  # type: ignore[attr-defined]
        return self.returncode


def run_to_end(
    args: list[str], *, how: Callable[..., subprocess.Popen[str]] = Forked, **more: Any
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, without input."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with how(args, text=True, **pipes, **more) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


class _Server:
    """The process that has imported everything. It ends when this one does."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        self._socket, self._lock = ours, Lock()
        with its:
            command = [sys.executable, "-m", __name__, str(its.fileno())]
            plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            self._process = subprocess.Popen(command, cwd=_ROOT, env=plain, pass_fds=[its.fileno()])

    def fork(self, what: dict[str, Any], streams: list[int]) -> socket.socket:
        """Have a process forked; what tells its id first, and its status when it has ended."""
        told = json.dumps(what).encode()
        ours, keepers = socket.socketpair()
        with keepers, self._lock:
            socket.send_fds(self._socket, [len(told).to_bytes(4, "big")], [keepers.fileno(), *streams])
            self._socket.sendall(told)
        return ours

    def close(self) -> None:
        """Have it end, also where a process that was forked from this one still has the socket."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._process.wait()


@cache
def _server() -> _Server:
    atexit.register((server := _Server()).close)
    return server


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = connection.recv(1)
        if not piece:
            raise EOFError("the process that forks has ended")
        line += piece
    return line


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork whenever asked to. Returns in each process that was forked, with what that is to do; None at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    while True:
        size, fds, _, _ = socket.recv_fds(requests, 4, 4)
        if not size:
            return None
        told, length = b"", int.from_bytes(size, "big")
        while len(told) < length:
            told += requests.recv(length - len(told))  # and nothing of the next request, which another thread may send
        if os.fork() == 0:
            requests.close()
            return json.loads(told) if _kept(*fds) else None
        for fd in fds:
            os.close(fd)


def _kept(told: int, *streams: int) -> bool:
    """Fork once more; in the parent, tell how the child ends. Returns in the child only, with these streams."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        for fd in (0, 1, 2, *streams):
            os.close(fd)
        os.write(told, b"%d\n" % pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(told, b"%d\n" % os.waitpid(pid, 0)[1])
        os._exit(0)
    os.close(told)
    for own, fd in enumerate(streams):
        os.dup2(fd, own)
        os.close(fd)
    return True


def become(args: list[str], cwd: str, env: dict[str, str]) -> None:
    """Do what the command line says, as a process that was started with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    if args[1] == "-c":
        sys.argv = args[1:2] + args[3:]
        exec(compile(args[2], "<string>", "exec"), {"__name__": "__main__"})
    elif args[1] == "-m":
        sys.argv = args[2:]
        runpy.run_module(args[2], run_name="__main__", alter_sys=True)
    else:
        from vectorferry.__main__ import main

        sys.argv = args
        main()


def _end_with(what: Callable[..., None], **how: Any) -> NoReturn:
    """End as a process does that has done this, but do not take apart what was imported: that copies every page of it,
    for as long as most commands take."""
    status: Any = 0
    try:
        what(**how)
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit((status or 0) & 0xFF)


if __name__ == "__main__":
    for package in ("connector", "destinations"):
        for module in pkgutil.walk_packages([str(_ROOT / package)], f"vectorferry.{package}."):
            importlib.import_module(module.name)
    for name in ("httpcore", "pinecone.client", "typer.rich_utils"):  # when they are needed
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        task = serve(inherited)
    if task is not None:
        _end_with(become, **task)
