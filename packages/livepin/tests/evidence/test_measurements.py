"""The evidence of an app's files: of a real installation, a zipapp, a folder."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest
from livepin.errors import MalformedError
from livepin.evidence.measurements import Measurements, measure

NONCE = bytes(32)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Where pip has installed the app."""
    target = tmp_path_factory.mktemp("site-packages")
    options = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", "--compile"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", target, wheel], check=True
    )
    assert list(target.rglob("*.pyc"))
    return target


@pytest.fixture
def site(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, from which this process imports."""
    found = tmp_path / "site-packages"
    shutil.copytree(installed, found)
    monkeypatch.syspath_prepend(found)
    return found


def test_an_installed_distribution_measures_as_its_wheel(site, wheel) -> None:
    found = measure(wheel)
    evidence = Measurements.of_distribution("shop").collect(NONCE)
    assert evidence == {"format": "measurements", "digest": found.digest, "files": len(found.files)}
    digest = base64.urlsafe_b64decode(evidence["digest"] + "=")
    assert digest == hashlib.sha256(found.text.encode()).digest()


def test_what_else_is_installed_beside_it_does_not_matter(site, wheel) -> None:
    (site / "other").mkdir()
    (site / "other" / "__init__.py").touch()
    (site / "other.py").touch()
    assert Measurements.of_distribution("shop").measure().digest == measure(wheel).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda site: (site / "shop" / "cart.py").write_text("def total(): return 0\n"),
        lambda site: (site / "shop" / "added.py").touch(),
        lambda site: (site / "shop" / "data" / "more.json").touch(),
        lambda site: (site / "shop_cli.py").unlink(),
    ],
    ids=["changed", "added", "added below", "missing"],
)
def test_a_change_to_what_is_installed_is_seen(site, wheel, change) -> None:
    measurements = Measurements.of_distribution("shop")
    measurements.collect(NONCE)
    change(site)
    assert measurements.collect(NONCE)["digest"] != measure(wheel).digest


def test_a_folder_and_a_zipapp_measure_as_they_were_shipped(site, tmp_path) -> None:
    (site / "__main__.py").write_text("import shop_cli\n")
    target = tmp_path / "shop.pyz"
    zipapp.create_archive(site, target)
    for path in (site, target):
        moved = path.rename(tmp_path / f"moved-{path.name}")
        shipped = measure(moved)
        assert Measurements(str(moved)).measure().text == shipped.text
    assert len(shipped.files) == 1


def test_a_link_to_the_folder_of_a_release_is_followed_once(site, tmp_path) -> None:
    (tmp_path / "current").symlink_to(site)
    assert Measurements(tmp_path / "current").measure().digest == measure(site).digest
    assert measure(tmp_path / "current").digest == measure(site).digest


def test_what_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        measure(tmp_path / "no")
    with pytest.raises(MalformedError, match="found none"):
        Measurements(tmp_path / "no").collect(NONCE)
