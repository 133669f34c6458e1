"""Files of a run folder: replaced as a whole, and read only where they lie in it.

A folder may come from anybody, or may have been damaged. So a link that leads out of it
is never followed, neither to read nor to write; what is read is a regular file of a
bounded size, since a pipe or a device may never end.
"""

import os
import pathlib
import stat
from typing import Any

LARGEST, MOST = 1 << 30, 1 << 33
"""Bytes of a file that is read as a whole, at most, and of one that holds arrays."""
_UNTRICKED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def within(root: pathlib.Path, name: str) -> pathlib.Path:
    """Where a file of a folder really lies; it need not be there.

    Args:
        root: The folder, which may be reached by a link itself.
        name: Of the file, from the folder on.

    Raises:
        ValueError: A link leads out of the folder, or in a circle.
    """
    path = root / name
    try:
        real = path.resolve()
        real.relative_to(root.resolve())
    except (ValueError, RuntimeError, OSError) as error:
        raise ValueError(
            f"A run folder needs {name} within it, but {path} is or passes a link that "
            "leads elsewhere, which is not followed."
        ) from error
    return real


def read(root: pathlib.Path, name: str, *, most: int = LARGEST) -> bytes:
    """The content of a file of a folder.

    Raises:
        ValueError: It is missing, no regular file, too large or not to be read, or a
            link leads out of the folder.
    """
    path = within(root, name)
    head = f"A run folder needs {name}, but {root / name}"
    try:
        handle = os.open(path, os.O_RDONLY | _UNTRICKED)
        with open(handle, "rb", closefd=True) as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise ValueError(f"{head} is {_kind(about.st_mode)}.")
            if about.st_size > most:
                raise ValueError(f"{head} has {about.st_size:,} bytes, too many.")
            return file.read(most)
    except OSError as error:
        raise ValueError(
            f"{head} cannot be read: {error.strerror or error}."
        ) from error


def write(root: pathlib.Path, name: str, content: bytes) -> None:
    """Make or replace a file of a folder, in a room that is made where it is missing.

    Raises:
        ValueError: Something of another kind lies there, or a link leads out of the
            folder.
        OSError: It cannot be written; what was there is as it was.
    """
    write_atomically(target(root, name), content)


def target(root: pathlib.Path, name: str) -> pathlib.Path:
    """Where a file of a folder can be put; the room that it lies in is made.

    Raises:
        ValueError: Something of another kind lies there, or a link leads out of the
            folder.
        OSError: The room cannot be made.
    """
    head, _, tail = name.rpartition("/")
    room = within(root, head)
    if room.exists() and not room.is_dir():
        raise ValueError(f"A run needs a folder to write to, got the file {room}.")
    path = room / tail
    if path.is_dir() and not path.is_symlink():
        raise ValueError(f"A run needs to write the file {path}, but it is a folder.")
    if not room.exists():
        room.mkdir(parents=True)
        flush(room.parent)
    return path


def open_to_append(path: pathlib.Path) -> Any:
    """A file that grows, to be read too; no link and nothing but a regular file.

    Raises:
        ValueError: It is something else.
        OSError: It cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _UNTRICKED
    if path.is_symlink():
        raise ValueError(f"A run needs to write the file {path}, but it is a link.")
    handle = os.open(path, flags, 0o666)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise ValueError(f"A run needs to write {path}, but it is {_kind(mode)}.")
    return open(handle, "a+b", closefd=True)


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Replace a file as a whole: temporary name, flush to disk, rename.

    Raises:
        OSError: It could not be written, and is named; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that had our number
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def flush(folder: pathlib.Path) -> None:
    """Have what was made and renamed in a folder reach the disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _kind(mode: int) -> str:
    """What a path is instead of a file, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
