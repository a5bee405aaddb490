"""Code that was loaded from nowhere: from memory, from a file that is gone, or from no file.

An agent that is injected comes as a library in memory, or from a file that is deleted at once. So
do other things, which are told apart here: a library that was updated under a running process is
there again under its name; a file that was seen before it was deleted was loaded as any other;
and what compilers of the process itself map twice (libffi, .NET) is no library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding
from .memory import Map, Mapping, Memory

_AGENT = re.compile(r"frida-(agent|gadget|helper)|gum-?js|linjector", re.IGNORECASE)
_MEMFD = "/memfd:"
_ELF = b"\x7fELF"


class Mappings:
    """Judges executable mappings, and remembers the files that were there under their names."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def look(self, found: Map, memory: Memory) -> Iterator[Finding]:
        """Give what was injected, and how much code has no file."""
        injected: dict[str, None] = {}
        anonymous = 0
        for each in found.executable:
            if _AGENT.search(each.name):
                injected[each.name] = None
            elif not each.is_file or each.writable:
                anonymous += 1
            elif not each.is_deleted:
                self._known.add(each.file)
            elif each.file in self._known or _is_there_again(each):
                continue
            elif memory.read(found.begin_of(each.file), len(_ELF)) == _ELF:
                injected[each.name] = None
            else:
                anonymous += 1
        for name in injected:
            yield Finding.of("injected_code", name)
        if anonymous:
            yield Finding.of("anonymous_code", f"{anonymous} mappings")


def _is_there_again(mapping: Mapping) -> bool:
    """Tell whether a file has the name again: an update, or a file system that forgot its own."""
    path = mapping.path.removesuffix(" (deleted)")
    return not path.startswith(_MEMFD) and Path(path).is_file()
