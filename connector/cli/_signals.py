"""SIGINT, SIGTERM and SIGHUP: the first one unwinds the command, and its process is gone within seconds in any case."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from types import FrameType
from typing import Final

from vectorferry.connector._cancellation import STOP_SIGNALS

INTERRUPTED: Final = "interrupted; what was committed stays, run again to go on"

SECONDS_TO_UNWIND: Final = 4.0
"""For what cannot be interrupted: a name that is being looked up, a destination from a plug-in, a disk that hangs."""


class _Phase(Enum):
    BEFORE = auto()
    COMMAND = auto()
    AFTER = auto()


@dataclass(slots=True)
class _State:
    phase: _Phase = _Phase.BEFORE
    signal: int = signal.SIGINT
    received: bool = False
    told: bool = False


_state = _State()


def stop_on_signals() -> None:
    """From now on, these signals end the process; by default they would leave an embedded Postgres behind.

    SIGINT too: a script's background job begins with it ignored. SIGHUP stays ignored under ``nohup``.
    """
    ours, python = socket.socketpair()
    python.setblocking(False)
    # Written to by C code at once, even while the main thread is somewhere that no handler can interrupt.
    signal.set_wakeup_fd(python.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_see_to_the_end, args=(ours,), name="signals", daemon=True).start()
    for number in STOP_SIGNALS:
        if number in {signal.SIGINT, signal.SIGTERM} or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def unwinding() -> Iterator[None]:
    """Let the first signal raise `KeyboardInterrupt`. Before this, one ends the process; after it, one has to wait."""
    _state.phase = _Phase.COMMAND
    try:
        yield
    finally:
        _state.phase = _Phase.AFTER


def interrupted() -> int:
    """The exit code of a process that has been interrupted. From now on it is the caller who says so."""
    _state.told = True
    return 128 + _state.signal


def _stop(number: int, _frame: FrameType | None) -> None:
    if _state.received:
        return
    _state.received, _state.signal = True, number
    if _state.phase is _Phase.BEFORE:
        _leave(number)
    if _state.phase is _Phase.COMMAND:
        raise KeyboardInterrupt


def _see_to_the_end(wakeups: socket.socket) -> None:
    """In a thread of its own: wait for a signal, give the main thread some time, and end the process."""
    while (number := wakeups.recv(1)[0]) not in STOP_SIGNALS:
        pass
    time.sleep(SECONDS_TO_UNWIND)
    _leave(number)


def _leave(number: int) -> None:
    """End the process, with what it was to print; nothing else is done any more, by anybody."""
    if not _state.told:
        _write(2, f"vectorferry: {INTERRUPTED}\n")
        if "--json" in sys.argv and _state.phase is not _Phase.AFTER:
            _write(1, json.dumps({"error": INTERRUPTED, "exit_code": 128 + number}) + "\n")
    os._exit(128 + number)


def _write(descriptor: int, text: str) -> None:
    with suppress(OSError):
        if select.select([], [descriptor], [], 0)[1]:  # a terminal may be held up, and a pipe full
            os.write(descriptor, text.encode())
