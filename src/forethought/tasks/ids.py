"""Ids by which Gymnasium finds our tasks: `pendulum` is `forethought/pendulum-v0`.

Gymnasium takes no notice of packages before they are imported, and we do not import it
before it is needed. So tasks are registered where both are there: at once if Gymnasium
is imported already, else as soon as it is.
"""

import importlib.abc
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def offer(names: Iterable[str], maker: str) -> None:
    """Have tasks registered with Gymnasium, now or when it is imported.

    Args:
        names: Of tasks; one that is registered already stays as it is.
        maker: `"module:function"` that makes an environment of the name `task`.
    """
    if "gymnasium" in sys.modules:
        _register(names, maker)
    else:
        sys.meta_path.insert(0, _AtImport(tuple(names), maker))


def _register(names: Iterable[str], maker: str) -> None:
    import gymnasium

    for name in names:
        id = f"forethought/{name}-v0"
        if id not in gymnasium.registry:
            gymnasium.register(id, maker, kwargs={"task": name})


class _AtImport(importlib.abc.MetaPathFinder):
    """Leaves finding Gymnasium to others, and registers tasks once it has run."""

    def __init__(self, names: tuple[str, ...], maker: str):
        self.names, self.maker = names, maker

    def find_spec(
        self,
        fullname: str,
        path: Any,  # a sequence of strings only by name
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """What the others find, with a loader that registers at the end."""
        if fullname != "gymnasium":
            return None
        others = (each for each in sys.meta_path if each is not self)
        found = (each.find_spec(fullname, path, target) for each in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                _register(self.names, self.maker)

            spec.loader.exec_module = exec_module
        return spec
