"""What takes part when modules are imported, and may change their code on the way."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from types import BuiltinFunctionType

from .finding import Finding

_STANDARD = (BuiltinImporter, FrozenImporter, PathFinder)
# What tools of packaging leave in most environments.
_USUAL = ("_distutils_hack", "_virtualenv", "__editable__", "six", "pkg_resources")
_FREEZERS = ("PyInstaller", "pyimod02_importers", "pyimod03_importers")


def import_hooks() -> Iterator[Finding]:
    """Give the finders of modules that are not Python's own, and a replaced `__import__`."""
    for each in list(sys.meta_path):
        kind = each if isinstance(each, type) else type(each)
        if each not in _STANDARD and not kind.__module__.startswith(_USUAL + _FREEZERS):
            yield Finding.of("import_hook", f"{kind.__module__}.{kind.__qualname__}")
    if not isinstance(builtins.__import__, BuiltinFunctionType):
        yield Finding.of("import_hook", "builtins.__import__")
