"""Tables in Parquet files, by pyarrow, which is an extra."""

import os
from typing import Any

import numpy as np

from forethought.data.sources.table import CELLS, Table, require_once

INDEX = "__index_level_"
"""What pandas calls a column that counts rows."""


def pyarrow() -> Any:
    """The package that reads and writes Parquet.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "Parquet files need the package pyarrow, which comes with an extra: pip "
            "install 'forethought[parquet]'."
        ) from error
    return pyarrow


def read_parquet(path: str | os.PathLike) -> Table:
    """The table of a Parquet file.

    Raises:
        ValueError: It is damaged, names a column twice, or holds too much; or pyarrow
            is not installed.
        OSError: It cannot be read.
    """
    arrow, source = pyarrow(), os.fspath(path)
    try:
        with arrow.parquet.ParquetFile(source) as file:
            about = file.metadata
            if about.num_rows * about.num_columns > CELLS:
                raise ValueError(
                    f"{source} has {about.num_rows:,} rows of {about.num_columns:,} "
                    "columns, more than is read at once."
                )
            read = file.read()
    except (arrow.ArrowException, OSError) as error:
        words = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{source} cannot be read as Parquet: {words}.") from error
    while any(arrow.types.is_struct(field.type) for field in read.schema):
        read = read.flatten()
    require_once(source, read.column_names)
    columns: dict[str, np.ndarray | list[str]] = {}
    aside = []
    for name in read.column_names:
        found = _columns(arrow, name, read.column(name))
        if not found and not name.startswith(INDEX):
            aside.append(name)
        columns |= {} if name.startswith(INDEX) else found
    if not read.num_rows:
        raise ValueError(f"{source} has columns but no rows.")
    notes = (f"Left aside, as no numbers: {', '.join(aside)}.",) if aside else ()
    return Table(source, columns, np.arange(read.num_rows), notes=notes)


def _columns(arrow: Any, name: str, column: Any) -> dict[str, np.ndarray | list[str]]:
    """A column by its name, or one for each number of its lists; none if no numbers."""
    types, kind = arrow.types, column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if types.is_string(kind) or types.is_large_string(kind):
        return {name: [each or "" for each in column.to_pylist()]}
    if types.is_timestamp(kind) or types.is_date(kind):
        plain = column.cast(arrow.timestamp("ns"))
        return {name: plain.to_numpy().astype("datetime64[ns]")}
    if types.is_boolean(kind) and not column.null_count:
        return {name: column.to_numpy()}
    if types.is_integer(kind) and not column.null_count:
        return {name: column.to_numpy()}
    if any(is_one(kind) for is_one in (types.is_integer, types.is_floating)):
        return {name: column.cast(arrow.float64(), safe=False).to_numpy()}
    if types.is_boolean(kind):
        return {name: column.cast(arrow.int8()).cast(arrow.float64()).to_numpy()}
    if types.is_decimal(kind):
        return {name: column.cast(arrow.float64()).to_numpy()}
    if (
        types.is_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_large_list(kind)
    ):
        return _of_lists(arrow, name, column)
    return {}


def _of_lists(arrow: Any, name: str, column: Any) -> dict[str, np.ndarray | list[str]]:
    lists = column.combine_chunks()
    widths = lists.value_lengths().to_numpy(zero_copy_only=False)
    kind = column.type.value_type
    plain = arrow.types.is_floating(kind) or arrow.types.is_integer(kind)
    if not plain or lists.null_count or not len(widths) or np.ptp(widths) > 0:
        return {}
    flat = lists.flatten().cast(arrow.float64(), safe=False)
    table = flat.to_numpy(zero_copy_only=False).reshape(len(widths), -1)
    return {f"{name}{i}": table[:, i] for i in range(table.shape[1])}
