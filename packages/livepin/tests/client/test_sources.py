"""What may be given to a client as a bootstrap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from livepin.client import Client
from livepin.client.sources import load_bootstrap
from livepin.errors import ConfigurationError, MalformedError
from livepin.testing import DeliverySimulator


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()


@pytest.mark.parametrize("form", ["object", "path", "text path", "bytes", "json", "one string"])
def test_a_bootstrap_may_come_in_each_of_its_forms(
    simulator: DeliverySimulator, tmp_path: Path, form: str
) -> None:
    bootstrap = simulator.bootstrap()
    path = tmp_path / "bootstrap.json"
    path.write_bytes(bootstrap.to_json())
    source: Any = {
        "object": bootstrap,
        "path": path,
        "text path": str(path),
        "bytes": bootstrap.to_json(),
        "json": bootstrap.to_json().decode(),
        "one string": bootstrap.to_text(),
    }[form]
    assert load_bootstrap(source) == bootstrap


def test_a_bootstrap_that_cannot_be_read_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the bootstrap") as caught:
        Client(tmp_path / "none.json")
    assert "livepin bootstrap" in (caught.value.hint or "")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(MalformedError):
        Client(tmp_path / "broken.json")
