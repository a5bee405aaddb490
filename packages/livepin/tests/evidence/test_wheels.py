"""A wheel measures as what it becomes. Hostile ones are in `attacks/test_hostile_wheel.py`."""

from __future__ import annotations

import zipfile

import pytest
from livepin.errors import MalformedError
from livepin.evidence.manifest import Manifest
from livepin.evidence.wheels import measure_wheel

from .conftest import ABOUT, FILES, MEASURED


def paths(manifest: Manifest) -> set[str]:
    return {line.split(" ", 2)[2] for line in manifest.text.splitlines()}


def test_it_is_the_files_that_are_installed_beside_each_other(wheel) -> None:
    told: list[int] = []
    found = measure_wheel(wheel, told.append)
    assert paths(found) == MEASURED
    assert told == [*range(1, len(MEASURED) + 1)]


def test_what_stands_in_it_changes_it(make_wheel, wheel) -> None:
    before = measure_wheel(wheel).digest
    assert measure_wheel(make_wheel()).digest == before
    for path in ("shop/cart.py", f"{ABOUT}/METADATA"):
        assert measure_wheel(make_wheel(FILES | {path: b"changed"})).digest != before
    assert measure_wheel(make_wheel(FILES | {"shop/new.py": b""})).digest != before
    # What no interpreter reads at its place does not.
    same = FILES | {f"{ABOUT}/licenses/LICENSE": b"", "shop/__pycache__/cart.pyc": b"x"}
    assert measure_wheel(make_wheel(same)).digest == before


def test_folders_in_it_are_no_files(make_wheel, wheel) -> None:
    found = make_wheel(more=lambda archive: archive.writestr("shop/", b""))
    assert measure_wheel(found).digest == measure_wheel(wheel).digest


@pytest.mark.parametrize("data", [b"", b"no wheel", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_wheel_is_refused(tmp_path, data) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(data)
    with pytest.raises(MalformedError, match=r"no wheel|found no RECORD"):
        measure_wheel(path)


def test_a_wheel_that_is_not_there_is_said_by_the_system(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        measure_wheel(tmp_path / "x.whl")


def info(name: str, mode: int = 0o100644, packing: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = mode << 16
    found.compress_type = packing
    return found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (info("shop/link.py", 0o120777), "no link in a wheel, found 'shop/link.py'"),
        (info("shop/x.py", packing=zipfile.ZIP_LZMA), "'shop/x.py' stored or deflated"),
        (info("shop\\x.py"), "expected / in a path"),
        (info("shop-1.4.data/etc/x"), "a known place in a wheel"),
        (info("shop-1.4.data/purelib/shop/cart.py"), "holds 'shop/cart.py' twice"),
        (info("other-1.dist-info/RECORD"), "found no RECORD"),
        (info("../x"), "relative path"),
    ],
)
def test_what_no_installer_should_take_is_refused(make_wheel, entry, message) -> None:
    with pytest.raises(MalformedError, match=message):
        measure_wheel(make_wheel(more=lambda archive: archive.writestr(entry, b"x")))
