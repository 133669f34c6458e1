"""Arrays in NumPy's own files, which are read without executing anything.

Dtypes that these files do not know, such as bfloat16, are stored as unsigned integers
of the same bits; who reads them has to know what they were.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,  # pickled objects among the arrays, too
    TypeError,
    LookupError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What a damaged file may raise."""


def to_bits(array: np.ndarray) -> np.ndarray:
    """An array that NumPy's files can hold."""
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def from_bits(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array that it was, where its dtype is the one that stands for this."""
    bits = dtype.kind == "V" and array.dtype == np.dtype(f"u{dtype.itemsize}")
    return array.view(dtype) if bits else array


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the content of an `.npz` file."""
    buffer = io.BytesIO()
    bits = {name: to_bits(array) for name, array in arrays.items()}
    np.savez(buffer, allow_pickle=False, **bits)  # pyright: ignore
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """The arrays in the content of an `.npz` file.

    Raises:
        Exception: One of `UNREADABLE`.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
