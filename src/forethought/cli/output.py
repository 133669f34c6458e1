"""Standard output that may fail: what runs goes on, and the fault is told last."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class Output:
    """A stream that says nothing more once it could not be written to.

    Args:
        stream: Where to; None where it was closed before.
    """

    def __init__(self, stream: Any):
        self.stream: Any = io.StringIO() if stream is None else stream
        self.error: OSError | None = None
        with contextlib.suppress(AttributeError):  # a stream of somebody's own
            # Names of files may be no Unicode, and terminals may know little of it.
            self.stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, as far as that is possible."""
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Have reach its end what was written."""
        self._try(self.stream.flush)

    def _try(self, call: Any) -> None:
        if self.error is not None:
            return
        try:
            call()
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError, ValueError):
                # What is left is not tried again when the program ends.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def outputs() -> Iterator[Output]:
    """Have both streams go on where they cannot be written to.

    Returns:
        Standard output; what became of it is to be asked at the end.
    """
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(out), Output(err)
    try:
        yield sys.stdout
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = out, err
