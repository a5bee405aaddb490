"""Python's own `ssl` and `socket`: whether their functions come from where they should.

Whole libraries live from replacing them (gevent, eventlet, truststore), so that alone says
little. What `livepin.inject` sets is no function.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from .finding import Finding

_CLASSES = (ssl, "SSLContext"), (ssl, "SSLSocket"), (ssl, "SSLObject"), (socket, "socket")
_FUNCTIONS = (
    (ssl, "create_default_context"),
    (ssl, "match_hostname"),  # until Python 3.11
    (socket, "create_connection"),
    (socket, "getaddrinfo"),
)


def replaced() -> Iterator[Finding]:
    """Give the functions of `ssl` and `socket` that are not the standard library's."""
    for module, name in _FUNCTIONS:
        if not _is_from(module, vars(module).get(name)):
            yield _finding(module, name)
    if ssl._create_default_https_context is not ssl.create_default_context:
        yield _finding(ssl, "_create_default_https_context")
    for module, name in _CLASSES:
        kind = vars(module).get(name)
        if not isinstance(kind, type) or kind.__module__ != module.__name__:
            yield _finding(module, name)
            continue
        for method, value in list(vars(kind).items()):
            if not all(_is_from(module, each) for each in _parts(value)):
                yield _finding(module, f"{name}.{method}")


def _parts(value: Any) -> tuple[object, ...]:
    if isinstance(value, property):
        return value.fget, value.fset
    return (value.__func__ if isinstance(value, (classmethod, staticmethod)) else value,)


def _is_from(module: ModuleType, value: object) -> bool:
    """Tell whether this is no Python function, or one whose code is of the module's file."""
    if not isinstance(value, FunctionType):
        return True
    # Its folder is that of the machine where it was compiled.
    file = value.__code__.co_filename.replace("\\", "/").rpartition("/")[2]
    return file == f"{module.__name__}.py" and value.__module__ == module.__name__


def _finding(module: ModuleType, name: str) -> Finding:
    return Finding.of("replaced_ssl_function", f"{module.__name__}.{name}")
