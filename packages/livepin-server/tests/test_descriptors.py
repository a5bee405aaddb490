"""The limit of open files, in processes of their own: one cannot be raised again."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "allowed", "after"),
    [
        (64, 4096, 2000, 2000, 2000),
        (64, 1000, 2000, 1000, 1000),
        (4096, 4096, 2000, 2000, 4096),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered(
    soft: int, hard: int, wanted: int, allowed: int, after: int
) -> None:
    code = (
        "import resource, sys; from livepin_server import descriptors;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        f"print(descriptors.allow({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert [int(each) for each in done.stdout.split()] == [allowed, after, hard]


def test_a_system_that_allows_less_than_it_says_is_taken_at_what_it_gives() -> None:
    """As macOS does, whose hard limit is "unlimited"; no other system can be made to."""
    code = (
        "import resource; from livepin_server import descriptors;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096));"
        "resource.setrlimit = lambda *_: int('EINVAL');"
        "print(descriptors.allow(2000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "64\n"
