"""Functions that are replaced, in the ways that code that gets into a process has."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from livepin.evidence.functions import Functions

SOURCE = """
from __future__ import annotations
import contextlib, functools, json
from dataclasses import dataclass

def judge(chain, strict=True, *, at=1):
    return bool(chain) and strict

@functools.lru_cache
def remembered(der):
    return der

@contextlib.contextmanager
def held():
    yield

def made(limit):
    def inner(chain):
        return len(chain) > limit
    return inner

check = made(3)

class Base:
    def hidden(self):
        return 1

class Judge(Base):
    _judged = False

    def check(self):
        return self._judged

    @property
    def mode(self):
        return 1

    @functools.cached_property
    def index(self):
        return {}

    @classmethod
    def parse(cls):
        return cls()

    @staticmethod
    def texts():
        return ()

@dataclass(frozen=True)
class Pin:
    sha256: bytes
"""


@pytest.fixture
def victim() -> Iterator[Any]:
    """A package like the SDK, to be attacked."""
    module = types.ModuleType("victim")
    sys.modules["victim"] = module
    exec(compile(SOURCE, "victim.py", "exec"), vars(module))
    yield module
    del sys.modules["victim"]


@pytest.fixture
def functions(victim: Any) -> Functions:
    return Functions("victim")


def details(functions: Functions) -> list[str]:
    return [each.detail for each in functions.replaced()]


def lie(*_: object) -> bool:
    return True


def generate() -> Iterator[int]:
    yield 1


def _set(name: str, attribute: str, value: object) -> Callable[[Any], None]:
    def attack(victim: Any) -> None:
        found = victim
        for part in filter(None, name.split(".")):
            found = vars(found)[part]
        if isinstance(found, (classmethod, staticmethod)):
            found = found.__func__
        setattr(found, attribute, value)

    return attack


def _wrapped(name: str, instead: Any) -> Callable[[Any], None]:
    def attack(victim: Any) -> None:
        vars(victim)[name].__wrapped__.__code__ = instead.__code__

    return attack


def _cell(victim: Any) -> None:
    victim.check.__closure__[0].cell_contents = -1


def _delete(victim: Any) -> None:
    del victim.Judge.check


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (_set("", "judge", lie), "victim.judge"),
        (_set("judge", "__code__", lie.__code__), "victim.judge"),
        (_set("judge", "__defaults__", (False,)), "victim.judge"),
        (_set("judge", "__kwdefaults__", {"at": 2}), "victim.judge"),
        (_set("judge", "__kwdefaults__", None), "victim.judge"),
        (_cell, "victim.made.<locals>.inner"),
        (_set("", "remembered", lie), "victim.remembered"),
        (_wrapped("remembered", lie), "victim.remembered"),
        (_wrapped("held", generate), "victim.held"),
        (_set("", "json", types), "victim.json"),
        (_set("", "Judge", type("Judge", (), {})), "victim.Judge"),
        (_set("", "len", lie), "victim.len"),
        (_set("Judge", "check", lie), "victim.Judge.check"),
        (_set("Judge.check", "__code__", lie.__code__), "victim.Judge.check"),
        (_delete, "victim.Judge.check"),
        (_set("Judge", "hidden", lie), "victim.Judge.hidden"),
        (_set("Judge", "__getattribute__", lie), "victim.Judge.__getattribute__"),
        (_set("Judge", "_judged", property(lie)), "victim.Judge._judged"),
        (_set("Judge", "mode", property(lie)), "victim.Judge.mode"),
        (_set("Judge", "index", functools.cached_property(lie)), "victim.Judge.index"),
        (_set("Judge.parse", "__code__", lie.__code__), "victim.Judge.parse"),
        (_set("Judge.texts", "__code__", lie.__code__), "victim.Judge.texts"),
        (_set("Judge", "__bases__", (type("Other", (), {}),)), "victim.Judge.__bases__"),
    ],
)  # fmt: skip
def test_each_way_to_replace_a_function_is_found(
    victim: Any, functions: Functions, attack: Callable[[Any], None], expected: str
) -> None:
    assert details(functions) == []
    attack(victim)
    assert details(functions) == [expected]


def test_the_parts_of_attributes_are_watched_too(victim: Any, functions: Functions) -> None:
    vars(victim.Judge)["mode"].fget.__code__ = lie.__code__
    vars(victim.Judge)["index"].func.__code__ = lie.__code__
    assert details(functions) == ["victim.Judge.mode", "victim.Judge.index"]


def test_what_an_honest_program_does_is_not_found(victim: Any, functions: Functions) -> None:
    victim.held.cache = {}  # data
    victim.answer = 42
    victim.extra = lie  # hides nothing
    victim.Judge.__slotnames__ = []  # `copy` and `pickle` leave it
    with victim.held():
        victim.remembered(b"x")
        victim.Judge().index["x"] = victim.Pin(b"x")
    assert details(functions) == []


def test_modules_are_taken_in_as_they_are_loaded(victim: Any, functions: Functions) -> None:
    late = types.ModuleType("victim.late")
    exec("def judge(): return 1", vars(late))
    sys.modules["victim.late"] = victim.late = late
    try:
        assert details(functions) == []
        late.judge = lie
        assert details(functions) == ["victim.late.judge"]
    finally:
        del sys.modules["victim.late"]
    assert details(functions) == []  # what is not there judges nothing


def test_code_that_is_written_over_in_place_is_found(victim: Any, functions: Functions) -> None:
    import ctypes

    def in_place() -> list[str]:
        return [each.detail for each in functions.rewritten()]

    code = victim.judge.__code__
    for _ in range(100):
        victim.judge(b"x")  # specialised code is the same code
    assert in_place() == []
    # Where the tuple of constants stands differs from Python to Python.
    constants = code.co_consts
    size = type(code).__basicsize__ // ctypes.sizeof(ctypes.c_void_p)
    words = (ctypes.c_void_p * size).from_address(id(code))
    at = list(words).index(id(constants))
    other = (*constants, "changed")
    words[at] = id(other)
    try:
        assert in_place() == ["victim.judge in place"]
    finally:
        words[at] = id(constants)


def test_the_sdk_is_as_it_was_after_work() -> None:
    functions = Functions()
    import livepin.adapters.stdlib
    import livepin.injection
    import livepin.testing

    assert livepin.testing.DeliverySimulator().client().status().signals is not None
    assert details(functions) == []
    assert list(functions.rewritten()) == []
