"""Arrays in NumPy's own files, which are read without executing anything.

Dtypes that these files do not know, such as bfloat16, are stored as unsigned integers
of the same bits; who reads them has to know what they were.

What a file claims is compared with what it holds before any room is made for it: a few
bytes may claim to be terabytes.
"""

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

LARGEST = 1 << 30
"""Bytes that a compressed file may hold, unless it is as large itself."""
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,  # pickled objects among the arrays, too
    TypeError,
    LookupError,
    RuntimeError,
    MemoryError,  # this and the next two: of the parser of a header
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What a damaged file may raise."""
KINDS = "biufcUS"
"""Dtypes of numbers and strings, as NumPy calls their kinds."""
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def to_bits(array: np.ndarray) -> np.ndarray:
    """An array that NumPy's files can hold."""
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def from_bits(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array that it was, where its dtype is the one that stands for this."""
    bits = dtype.kind == "V" and array.dtype == np.dtype(f"u{dtype.itemsize}")
    return array.view(dtype) if bits else array


def packed(arrays: Mapping[str, np.ndarray], *, small: bool = False) -> bytes:
    """Arrays as the content of an `.npz` file, compressed where it shall be small."""
    buffer = io.BytesIO()
    bits = {name: to_bits(array) for name, array in arrays.items()}
    save = np.savez_compressed if small else np.savez
    save(buffer, allow_pickle=False, **bits)  # pyright: ignore
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """The arrays in the content of an `.npz` file.

    Raises:
        Exception: One of `UNREADABLE`.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        claimed = sum(each.file_size for each in members)
        if claimed > max(LARGEST, len(content)):
            raise ValueError(f"it claims to hold {claimed:,} bytes")
        plain = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if strange := [each for each in members if each.compress_type not in plain]:
            raise ValueError(f"{strange[0].filename!r} is compressed by other means")
        return {
            each.filename.removesuffix(".npy"): _array(archive.read(each))
            for each in members
        }


def _array(content: bytes) -> np.ndarray:
    """One array, whose size is what its header says."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"it holds an array of version {version}")
    shape, _, dtype = HEADERS[version](stream)
    if dtype.kind not in KINDS:
        raise ValueError(f"it holds an array of dtype {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != (
        len(content) - stream.tell()
    ):
        raise ValueError(f"it holds less or more than an array of shape {shape}")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)
