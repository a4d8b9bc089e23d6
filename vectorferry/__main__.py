"""The command ``vectorferry``, also as ``python -m vectorferry``.

Signals are seen to before anything of ours is imported: that takes a good part of a second, and whoever presses Ctrl-C
meanwhile would get the traceback of an import.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as type checkers read it; nothing is imported here that can be done without
if TYPE_CHECKING:
    from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Run the command that ``sys.argv`` names and exit with its code."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):
            signal.signal(number, _leave)
    from vectorferry.connector.cli import main as run

    run()


def _leave(number: int, _frame: FrameType | None) -> None:
    from contextlib import suppress

    said, exit_code = "interrupted before anything was done", 128 + number
    with suppress(OSError):
        os.write(2, f"vectorferry: {said}\n".encode())
    with suppress(OSError):
        os.write(1, f'{{"error": "{said}", "exit_code": {exit_code}}}\n'.encode() if "--json" in sys.argv else b"")
    os._exit(exit_code)


if __name__ == "__main__":
    main()
