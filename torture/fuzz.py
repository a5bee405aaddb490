"""Fuzz one target: `python -m torture.fuzz TARGET [libFuzzer's arguments | FILE]`.

It needs atheris, which `make torture` installs. With a FILE the target is run on that alone.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["livepin", "livepin_server"]):
    from .targets import TARGETS, inputs

# Where bounds are, and what other parsers take for something else.
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 1.0, 1e300, 2**53 - 1, 2**53, 10**40, 253402300799,
    253402300800, "", "\0", "\ud800", "off", "report", "refuse", "*.", "*.com", "a.example.com",
    "API.example.com", "127.1", "::1", "https://a.example", [], {}, [[]], {"critical": ["x"]},
]  # fmt: skip


def mutate_json(data: bytes, longest: int, seed: int) -> bytes:
    """Return the JSON with one member somewhere changed; what is none is mutated as bytes."""
    chance = random.Random(seed)
    try:
        value = json.loads(data)
        assert chance.random() < 0.7
        changed = json.dumps(_changed(value, chance)).encode()
    except (ValueError, RecursionError, AssertionError):
        return bytes(atheris.Mutate(data, longest))
    return changed if len(changed) <= longest else bytes(atheris.Mutate(data, longest))


def _changed(value: Any, chance: random.Random) -> Any:
    if not isinstance(value, (dict, list)) or not value or chance.random() < 0.2:
        return chance.choice(_VALUES)
    found: Any = value.copy()
    key = chance.choice(list(found)) if isinstance(found, dict) else chance.randrange(len(found))
    what = chance.random()
    if what < 0.7:
        found[key] = _changed(found[key], chance)
    elif what < 0.8:
        del found[key]
    elif isinstance(found, dict):
        found[chance.choice(["critical", "x", "version", "sha256"])] = chance.choice(_VALUES)
    else:
        found.append(found[key])
    return found


def main(name: str, arguments: list[str]) -> None:
    """Fuzz until the time is up or something is found; libFuzzer ends the process."""
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    options: dict[str, Any] = {"custom_mutator": mutate_json} if target.json else {}
    folder = tempfile.mkdtemp(prefix="livepin-corpus-")
    if not any(Path(each).is_file() for each in arguments):
        for at, data in enumerate(inputs(name)):
            Path(folder, f"{at:04}").write_bytes(data)
        arguments = [folder, f"-max_len={target.longest}", *arguments]
    atheris.Setup([sys.argv[0], *arguments], target.run, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
