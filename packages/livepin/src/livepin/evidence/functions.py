"""The SDK's own functions: whether they are those that were there when the client was made.

What gets into a process can give a name another function, a function other code, or a class other
methods. So it is remembered which they were: of each function its code and what it runs with, of
each class its attributes, of each module the functions, classes and modules that its names stand
for. All is compared by identity, which takes a fraction of a millisecond; code that is written
over in place is found by `rewritten`. The data of modules and objects is not looked at here.
"""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import is_
from types import CellType, FunctionType, ModuleType
from typing import Any

from .finding import Finding

_DEPTH = 4  # functions around functions
_MISSING = object()
_HOLDERS = (
    FunctionType, property, classmethod, staticmethod, functools.cached_property,
    functools._lru_cache_wrapper,
)  # fmt: skip


class Functions:
    """What the functions of a package were, module by module as these are loaded."""

    def __init__(self, package: str = "livepin") -> None:
        self._package, self._below = package, f"{package}."
        self._modules: dict[str, _Names] = {}
        self._classes: dict[type, tuple[_Names, tuple[type, ...]]] = {}
        self._functions: dict[FunctionType, tuple[object, ...]] = {}
        self._hashes: dict[FunctionType, int] = {}
        self._loaded = 0
        self._remember()

    def replaced(self) -> Iterator[Finding]:
        """Give the functions that are not what they were."""
        self._remember()
        for label in (*self._of_modules(), *self._of_classes(), *self._of_functions()):
            yield Finding.of("replaced_sdk_function", label)

    def rewritten(self) -> Iterator[Finding]:
        """Give the functions whose code is the same object with other content than before."""
        for function, (code, *_) in self._functions.items():
            if self._hashes.setdefault(function, hash(code)) != hash(code):
                yield Finding.of("replaced_sdk_function", f"{_label(function)} in place")

    def _remember(self) -> None:
        """Take in what was loaded since."""
        if len(sys.modules) == self._loaded:
            return
        self._loaded = len(sys.modules)
        for name, module in list(sys.modules.items()):
            if self._is_ours(name) and name not in self._modules:
                known = self._modules[name] = _Names(name, vars(module), _is_watched)
                for value in known.values.values():
                    self._take(name, value)

    def _is_ours(self, module: str | None) -> bool:
        return module is not None and (module == self._package or module.startswith(self._below))

    def _take(self, module: str, value: object) -> None:
        if isinstance(value, type):
            if value.__module__ == module and value not in self._classes:
                known = _Names(f"{module}.{value.__qualname__}", vars(value), _is_attribute)
                self._classes[value] = known, value.__mro__
                for each in known.values.values():
                    self._take(module, each)
        elif isinstance(value, _HOLDERS):
            for function in _functions_in(value):
                if self._is_ours(function.__module__):
                    self._functions[function] = _parts(function)

    def _of_modules(self) -> Iterator[str]:
        for name, known in self._modules.items():
            module = sys.modules.get(name)
            if module is not None:
                names = vars(module)
                yield from known.differing(names)
                # A module's own name goes before one that all modules have.
                for added in known.added(names):
                    if added in vars(builtins):
                        yield f"{name}.{added}"

    def _of_classes(self) -> Iterator[str]:
        for kind, (known, ancestors) in self._classes.items():
            names = vars(kind)
            yield from known.differing(names)
            for added in known.added(names):  # a method of an ancestor may be hidden by it
                yield f"{known.label}.{added}"
            if kind.__mro__ != ancestors:
                yield f"{known.label}.__bases__"

    def _of_functions(self) -> Iterator[str]:
        for function, parts in self._functions.items():
            if function.__code__ is not parts[0] or not _same(parts, _parts(function)):
                yield _label(function)


class _Names:
    """The names of a module or a class, with what they stood for, as far as it is watched."""

    __slots__ = "_all", "_is_watched", "label", "values"

    def __init__(
        self, label: str, names: Mapping[str, Any], is_watched: Callable[[str, object], bool]
    ) -> None:
        self.label = label
        self.values = {name: each for name, each in names.items() if is_watched(name, each)}
        self._all = frozenset(names)
        self._is_watched = is_watched

    def differing(self, names: Mapping[str, Any]) -> Iterator[str]:
        """Give the names that stand for something else now."""
        for name, value in self.values.items():
            if names.get(name, _MISSING) is not value:
                yield f"{self.label}.{name}"

    def added(self, names: Mapping[str, Any]) -> Iterator[str]:
        """Give the names that were not there before."""
        if len(names) != len(self._all):
            for name in names.keys() - self._all:
                if self._is_watched(name, names[name]):
                    yield name


def _is_watched(_: str, value: object) -> bool:
    """Tell whether a module's name stands for what can be called, or for a module."""
    return callable(value) or isinstance(value, ModuleType)


def _is_attribute(name: str, value: object) -> bool:
    """Tell whether a class's attribute is one that Python does not fill in later."""
    return callable(value) or not name.startswith("__")


def _functions_in(value: object, depth: int = _DEPTH) -> list[FunctionType]:
    """Return a function and those that it, or what stands in its place, wraps."""
    inner: tuple[object, ...] = ()
    found = []
    if isinstance(value, FunctionType):
        found.append(value)
        if value.__closure__:
            inner = tuple(map(_contents, value.__closure__))
    elif isinstance(value, property):
        inner = value.fget, value.fset, value.fdel
    elif isinstance(value, (classmethod, staticmethod)):
        inner = (value.__func__,)
    elif isinstance(value, functools.cached_property):
        inner = (value.func,)
    elif isinstance(value, functools._lru_cache_wrapper):
        inner = (value.__wrapped__,)
    if depth:
        for each in inner:
            found += _functions_in(each, depth - 1)
    return found


def _parts(function: FunctionType) -> tuple[object, ...]:
    """Return what a function runs: its code first."""
    parts: tuple[object, ...] = function.__code__, function.__defaults__
    if function.__kwdefaults__:
        parts += tuple(function.__kwdefaults__.values())
    if function.__closure__:
        parts += tuple(map(_contents, function.__closure__))
    return parts


def _same(parts: tuple[object, ...], now: tuple[object, ...]) -> bool:
    return len(parts) == len(now) and all(map(is_, parts, now))


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _label(function: FunctionType) -> str:
    return f"{function.__module__}.{function.__qualname__}"
