"""Ctrl-C, heeded between steps.

An exception that a signal raises wherever a program happens to be is lost in a callback
of compiled code, or leaves half of something behind. So a program says that signals are
`heeded`: then the first one only asks, and whoever goes step by step takes a `look`
before each. The second one ends the process at once.

A thread listens to the pipe that the signal's number is written to, as Python's own
handlers wait until compiled code has come to its end.

Where nobody heeds them, signals do what they always do.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

INTERRUPTED = 130
"""The exit code of a process that was told to end."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = threading.Event()


def look() -> None:
    """Stop here, if that was asked for.

    Raises:
        KeyboardInterrupt: It was.
    """
    if _asked.is_set():
        _asked.clear()
        raise KeyboardInterrupt


@contextlib.contextmanager
def heeded(notice: str = "") -> Iterator[None]:
    """Have SIGINT and SIGTERM ask, the first time, and end the process the second time.

    Args:
        notice: Written to standard error at the first one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    listener = threading.Thread(target=_listen, args=(reading, notice), daemon=True)
    listener.start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # What runs in the background was told to ignore Ctrl-C.
    kept = {
        number: signal.getsignal(number)
        for number in SIGNALS
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
    }
    for number in kept:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.set_wakeup_fd(before)
        os.close(writing)
        listener.join()
        os.close(reading)
        _asked.clear()


def _listen(reading: int, notice: str) -> None:
    """Read the numbers of signals until nobody writes any more."""
    heard = 0
    while number := os.read(reading, 1):
        if number[0] not in SIGNALS:
            continue
        heard += 1
        if heard > 1:
            os._exit(INTERRUPTED)
        _asked.set()
        with contextlib.suppress(OSError):
            os.write(2, notice.encode())
