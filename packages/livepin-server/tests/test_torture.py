"""What `make torture` fuzzes takes what it starts from, and what made it fail once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def targets() -> Any:
    """The targets, from the folder beside the packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from torture import targets

        yield targets


def test_no_input_makes_a_target_fail(targets: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what libraries will not read in future
        for name, target in targets.TARGETS.items():
            found = targets.inputs(name)
            assert found
            for data in found:
                target.run(data)


def test_what_made_a_target_fail_belongs_to_one(targets: Any) -> None:
    past = list(targets.CRASHERS.iterdir())
    assert past
    assert {each.name for each in past} <= targets.TARGETS.keys()
