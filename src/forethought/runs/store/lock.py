"""One process a run folder: two that write to the same one would mix their runs.

Whoever writes to a folder holds a lock on the file `.lock` in it, which says who that
is: the number of the process, its host, and since when. The lock is the operating
system's, so that it ends with the process however that ends, and a file left behind
binds nobody. On file systems that know no locks the file decides: it is stale where no
such process runs on this host any more, or another one has got its number since.
"""

import contextlib
import json
import os
import pathlib
import platform
from collections.abc import Iterator
from typing import Any, BinaryIO, TypedDict

from forethought.runs.store.files import open_to_append
from forethought.runs.store.schema import parsed, require

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None

FILE = ".lock"


class Owner(TypedDict):
    """Who holds a lock."""

    process: int
    host: str
    since: str
    """When the process began, as its operating system counts."""


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Be the only one who writes to a folder.

    Raises:
        ValueError: Somebody does already, who is named.
        OSError: The folder cannot be written to.
    """
    path = folder / FILE
    file = _locked(path)
    try:
        file.truncate(0)
        file.write(json.dumps(_owner(os.getpid())).encode() + b"\n")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: pathlib.Path) -> BinaryIO:
    """The lock's file, held."""
    while True:
        file = open_to_append(path)
        try:
            if not _lock(file) and _runs(_read(file)):
                raise BlockingIOError
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
            file.close()  # its owner has just removed it: there may be another one
        except BlockingIOError as error:
            owner, who = _read(file), "another process"
            file.close()
            if owner is not None:
                who = f"process {owner['process']} on {owner['host']}"
            raise ValueError(
                "A run needs a folder for itself, but "
                f"{who} is writing to {path.parent}."
            ) from error
        except BaseException:  # whatever it is, the file does not stay open
            file.close()
            raise


def _lock(file: BinaryIO) -> bool:
    """Whether the lock is ours; False where the file system knows none.

    Raises:
        BlockingIOError: It is somebody's.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _read(file: BinaryIO) -> Owner | None:
    """Who wrote the file, if it says so."""
    file.seek(0)
    try:
        return require(parsed(file.read(4096)), Owner, "a lock")
    except ValueError:
        return None


def _owner(process: int) -> Owner:
    return {
        "process": process,
        "host": platform.node(),
        "since": _began(process) or "",
    }


def _runs(owner: Owner | None) -> bool:
    """Whether the owner of a lock still runs, or may."""
    if owner is None:
        return False
    if owner["host"] != platform.node():
        return True
    return owner["since"] == _began(owner["process"])


def _began(process: int) -> str | None:
    """When a process of this host began; None where there is none of that number."""
    try:
        stat = pathlib.Path(f"/proc/{process}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    if os.name == "posix":  # without /proc, that it runs is all there is to know
        try:
            os.kill(process, 0)
        except PermissionError:
            return ""
        except (OSError, OverflowError):
            return None
    return ""
