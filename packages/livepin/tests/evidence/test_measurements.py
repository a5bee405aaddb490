"""Which release it is: folders, files, wheels, and what pip makes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest
from livepin.errors import ConfigurationError, MalformedError
from livepin.evidence import manifest, measurements
from livepin.evidence.measurements import Measurements, measure, of_distribution

from .releases import FILES, INFO, make_wheel

NONCE = bytes(32)


@pytest.fixture(scope="session")
def installed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip makes of the wheel, compiled files and scripts among it."""
    folder = tmp_path_factory.mktemp("release")
    arguments = ["--no-deps", "--no-index", "--no-cache-dir", "--disable-pip-version-check", "-q"]
    target, wheel = folder / "site-packages", make_wheel(folder)
    command = [sys.executable, "-m", "pip", "install", *arguments, "--target", target, wheel]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def site(installed_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where Python looks for distributions."""
    site = tmp_path / "site-packages"
    shutil.copytree(installed_once / "site-packages", site)
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "lib").mkdir(parents=True)
    (folder / "main.py").write_text("print()\n")
    (folder / "lib" / "core.py").write_text("X = 1\n")
    return folder


# Installed distributions


def test_an_installed_wheel_gives_the_digest_of_the_wheel(installed_once: Path, site: Path) -> None:
    made = measure(installed_once / "shop-1.4-py3-none-any.whl")
    assert (site / "bin" / "shop").exists()
    assert list(site.rglob("*.pyc"))
    assert (site / INFO / "INSTALLER").exists()
    assert of_distribution("shop").text == made.text
    evidence = Measurements.of_distribution("Shop").collect(NONCE)
    assert evidence == {"format": "measurements", "digest": made.digest, "files": 9}


@pytest.mark.parametrize(
    "change",
    [
        lambda site: (site / "shop/core.py").write_text("def price() -> int:\n    return 4\n"),
        lambda site: (site / "shop_tools.py").write_text("x"),
        lambda site: (site / INFO / "entry_points.txt").write_text(""),
        lambda site: (site / "shop/core.abi3.so").write_text("preferred to core.py"),
        lambda site: (site / "shop/data/more.json").write_text("{}"),
        lambda site: _unrecord(site, "shop_tools.py"),
    ],
)
def test_another_file_in_a_distribution_is_another_digest(site: Path, change) -> None:
    before = of_distribution("shop")
    change(site)
    assert of_distribution("shop").digest != before.digest


def _unrecord(site: Path, path: str) -> None:
    record = site / INFO / "RECORD"
    record.write_text(re.sub(rf"^{path},.*\n", "", record.read_text(), flags=re.MULTILINE))


def test_a_file_that_is_missing_is_named(site: Path) -> None:
    (site / "shop/core.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"core\.py"):
        of_distribution("shop")


def test_what_an_installer_writes_is_no_change(site: Path) -> None:
    before = of_distribution("shop")
    for name in ("direct_url.json", "REQUESTED", "uv_cache.json"):
        (site / INFO / name).write_text("{}")
    with (site / INFO / "RECORD").open("a") as record:
        record.write(f"{INFO}/direct_url.json,,\n{INFO}/uv_cache.json,,\n\n/usr/bin/shop,,\n")
    shutil.rmtree(site / "shop/__pycache__")
    assert of_distribution("shop") == before


def test_links_to_a_cache_are_read_as_python_reads_them(site: Path, tmp_path: Path) -> None:
    """As uv installs with --link-mode symlink."""
    before = of_distribution("shop")
    (site / "shop/core.py").rename(tmp_path / "cached.py")
    (site / "shop/core.py").symlink_to(tmp_path / "cached.py")
    assert of_distribution("shop") == before


def test_another_distribution_beside_it_is_no_change(site: Path) -> None:
    before = of_distribution("shop")
    (site / "other").mkdir()
    (site / "other/__init__.py").write_text("")
    assert of_distribution("shop") == before


@pytest.mark.parametrize("name", ["no-such-distribution", ""])
def test_a_distribution_that_is_not_installed_is_no_evidence(name: str) -> None:
    with pytest.raises(ConfigurationError, match="found none named") as refused:
        Measurements.of_distribution(name).collect(NONCE)
    assert refused.value.hint == "name a folder or file instead: Measurements(path)"


def test_a_distribution_without_record_is_no_evidence(site: Path) -> None:
    (site / INFO / "RECORD").unlink()
    with pytest.raises(ConfigurationError, match="with a RECORD"):
        of_distribution("shop")


def test_a_distribution_in_an_archive_is_no_evidence(
    installed_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed_once / "shop-1.4-py3-none-any.whl")
    with pytest.raises(ConfigurationError, match="installed as files"):
        of_distribution("shop")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("shop/../../../etc/passwd,,\n", "a relative path"),
        ("shop,,\n", "a regular file"),
        ("a" * 200_000 + ",,\n", "field larger than field limit"),
        ("x" * (manifest.MAX_TEXT + 1), "a RECORD of at most"),
        ("", "at least one file"),
    ],
)
def test_a_hostile_record_is_refused(site: Path, record: str, message: str) -> None:
    (site / INFO / "RECORD").write_text(record)
    with pytest.raises(MalformedError, match=message):
        of_distribution("shop")


# Folders


def test_a_folder_has_all_files_but_compiled_ones(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "main.cpython-312.pyc").write_text("x")
    (folder / "lib" / "old.pyc").write_text("x")
    assert list(measure(folder).files) == ["lib/core.py", "main.py"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "lib/core.py").write_text("X = 2\n"),
        lambda folder: (folder / "lib/core.py").unlink(),
        lambda folder: (folder / "lib/core.py").rename(folder / "lib/other.py"),
        lambda folder: (folder / "lib/more.py").write_text(""),
    ],
)
def test_another_file_in_a_folder_is_another_digest(folder: Path, change) -> None:
    before = measure(folder)
    change(folder)
    assert measure(folder).digest != before.digest


def test_a_link_within_a_folder_is_the_file_that_it_leads_to(folder: Path) -> None:
    (folder / "alias.py").symlink_to("lib/core.py")
    found = measure(folder).files
    assert found["alias.py"] == found["lib/core.py"]


@pytest.mark.parametrize("name", ["secret", "secrets", "nowhere"])
def test_a_link_that_leads_out_of_a_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder.parent / "secrets").mkdir()
    (folder / "out").symlink_to(folder.parent / name)
    with pytest.raises(MalformedError, match="expected files of the folder, found a link: 'out'"):
        measure(folder)


def test_a_link_to_a_folder_is_refused_and_leads_in_no_circle(folder: Path) -> None:
    (folder / "lib" / "again").symlink_to("..")
    with pytest.raises(MalformedError, match="expected a regular file"):
        measure(folder)


def test_a_name_that_hides_lines_is_refused(folder: Path) -> None:
    (folder / "a\nb").write_text("")
    with pytest.raises(MalformedError, match="a relative path"):
        measure(folder)
    (folder / "a\nb").rename(folder / os.fsdecode(b"\xff"))
    with pytest.raises(MalformedError, match="a relative path"):
        measure(folder)


def test_a_folder_without_end_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(10):
        (folder / "lib" / f"{at}").mkdir()
    monkeypatch.setattr(measurements, "MAX_FILES", 12)
    with pytest.raises(MalformedError, match="files and folders"):
        measure(folder)


def test_an_empty_folder_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="at least one file"):
        measure(tmp_path)


# Files


def test_a_zipapp_is_one_file_whatever_its_name_is(folder: Path, tmp_path: Path) -> None:
    zipapp.create_archive(folder, tmp_path / "shop-1.4.pyz", main="main:main")
    found = measure(tmp_path / "shop-1.4.pyz")
    assert list(found.files) == ["."]
    (tmp_path / "shop-1.4.pyz").rename(tmp_path / "shop")
    assert measure(tmp_path / "shop") == found
    with (tmp_path / "shop").open("ab") as file:
        file.write(b"x")
    assert measure(tmp_path / "shop").digest != found.digest


# Evidence


def test_evidence_is_measured_when_asked_for_and_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    evidence = Measurements("app")
    monkeypatch.chdir("/")
    (folder / "main.py").write_text("print(1)\n")
    expected = measure(folder)
    first = evidence.collect(NONCE)
    assert first == {"format": "measurements", "digest": expected.digest, "files": 2}
    (folder / "main.py").write_text("print(2)\n")
    first.clear()  # it is the caller's
    assert evidence.collect(b"x" * 32)["digest"] == expected.digest


def test_what_cannot_be_measured_raises_and_is_tried_again(folder: Path) -> None:
    evidence = Measurements(folder / "later.pyz")
    with pytest.raises(FileNotFoundError):
        evidence.collect(NONCE)
    (folder / "later.pyz").write_text("x")
    assert evidence.collect(NONCE)["files"] == 1


def test_the_paths_of_a_release_are_those_that_it_was_made_of(installed_once: Path) -> None:
    found = measure(installed_once / "shop-1.4-py3-none-any.whl").files
    assert set(found) - set(FILES) == {"shop/extra.py"}
