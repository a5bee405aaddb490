"""What a manifest is, to the byte, and what is none."""

from __future__ import annotations

import base64
import hashlib

import pytest
from livepin.errors import MalformedError
from livepin.evidence.manifest import (
    MAX_FILES,
    MAX_TEXT,
    Entry,
    Manifest,
    check_number,
    is_left_out,
)

ZEROS = bytes(32)
A = Entry("a.py", ZEROS, 3)


def text(*paths: str, size: str = "1") -> str:
    return "".join(f"{'0' * 64} {size} {path}\n" for path in paths)


def test_it_is_a_line_for_each_file_in_the_order_of_bytes() -> None:
    found = Manifest([Entry("é", ZEROS, None), A, Entry("a/b", bytes([255] * 32), 0)])
    assert found.text == (f"{'0' * 64} 3 a.py\n{'ff' * 32} 0 a/b\n{'0' * 64} link é\n")
    digest = base64.urlsafe_b64decode(found.digest + "=")
    assert digest == hashlib.sha256(found.text.encode()).digest()
    assert ([each.path for each in found.files], found.size) == (["a.py", "a/b", "é"], 3)
    again = Manifest.parse(found.text)
    assert (again.text, again.digest, again.files) == (found.text, found.digest, found.files)


def test_an_app_may_be_one_file() -> None:
    assert Manifest.parse(text(".")).size == 1


@pytest.mark.parametrize(
    "path",
    ["/a", "a//b", "a/", "../a", "a/../b", "./a", "a/.", "", "a\nb", "a\x00", "a\x7f", "\ud800"],
)
def test_a_path_that_leads_elsewhere_or_breaks_a_line_is_refused(path) -> None:
    with pytest.raises(MalformedError, match="expected a"):
        Manifest([Entry(path, ZEROS, 1)])


def test_a_path_is_bounded() -> None:
    Manifest([Entry("a" * 1024, ZEROS, 1)])
    with pytest.raises(MalformedError, match="relative path"):
        Manifest([Entry("é" * 513, ZEROS, 1)])


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("", "found none"),
        (text("a", "b").removesuffix("\n"), "line feed at the end"),
        (text("b", "a"), "in the order"),
        (text("a", "a"), "found 'a' twice"),
        (text("a") + "\n", "line 2 of a manifest"),
        (text("a", size="01"), "line 1 of a manifest"),
        (text("a", size="-1"), "line 1 of a manifest"),
        (text("a", size="1e3"), "line 1 of a manifest"),
        (text("a", size="9" * 16), "line 1 of a manifest"),
        (text("a").replace("0" * 64, "A" * 64), "line 1 of a manifest"),
        (text("a").replace("0", "\u0660", 1), "line 1 of a manifest"),
        (text("a").replace("\n", "\r\n"), "relative path in one line"),
        (text("../a"), "relative path"),
        ("\n" * MAX_FILES + "x\n", f"at most {MAX_FILES} files"),
        ("x" * (MAX_TEXT + 1), "at most 4194304 bytes"),
        (text("é" * 500) * 3000, "found .* twice"),
    ],
)
def test_what_is_no_manifest_is_refused(found, message) -> None:
    with pytest.raises(MalformedError, match=message):
        Manifest.parse(found)


def test_its_bytes_are_bounded_also_where_its_characters_are_fewer() -> None:
    entries = (Entry(f"{'é' * 500}{number}", ZEROS, 1) for number in range(4000))
    with pytest.raises(MalformedError, match="at most 4194304 bytes"):
        Manifest(entries)


def test_files_are_counted_before_they_are_all_read() -> None:
    def endless():
        number = 0
        while True:
            number += 1
            yield Entry(str(number), ZEROS, 1)

    with pytest.raises(MalformedError, match="at most 20000 files") as caught:
        Manifest(endless())
    assert caught.value.hint == "measure the app alone, not all around it"
    check_number(MAX_FILES)


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("shop/__pycache__/cart.cpython-311.pyc", True),
        ("__pycache__/x.py", True),
        ("shop/cart.pyc", False),  # it would be imported
        ("shop-1.dist-info/METADATA", False),
        ("shop-1.dist-info/entry_points.txt", False),
        ("app/shop-1.dist-info/METADATA", False),
        ("shop-1.dist-info/RECORD", True),
        ("shop-1.dist-info/INSTALLER", True),
        ("shop-1.dist-info/licenses/METADATA", True),
        ("RECORD", False),
        ("__pycache__", False),
    ],
)
def test_what_interpreters_and_installers_write_is_left_out(path, left_out) -> None:
    assert is_left_out(path) is left_out
