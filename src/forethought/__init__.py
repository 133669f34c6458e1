"""Acting by thinking ahead: planning and model-based reinforcement learning.

Public names and where each is at home are listed once, in `__init__.pyi`, which type
checkers read too. A name is imported when it is first asked for, so that `import
forethought` costs no more than this file does.
"""

import ast
import importlib
import importlib.util
import pathlib
import sys
from typing import TYPE_CHECKING, Any

# Not asked for by name: that it is there lets Gymnasium find our tasks.
from forethought import tasks as tasks

_LIST = ast.parse(pathlib.Path(__file__).with_suffix(".pyi").read_text("utf-8"))
_HOMES = {
    alias.name: node.module
    for node in _LIST.body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

if not TYPE_CHECKING:  # there, a name that is not listed is an error
    __all__ = list(_HOMES)

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            found = getattr(importlib.import_module(_HOMES[name]), name)
        elif importlib.util.find_spec(f"{__name__}.{name}"):
            found = importlib.import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}",
                name=name,
                obj=sys.modules[__name__],
            )
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
