"""The manifest of a release: its text, to the letter, and its limits."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.errors import MalformedError
from livepin.evidence import manifest
from livepin.evidence.manifest import MAX_FILES, MAX_PATH, MAX_SIZE, MAX_TEXT, File, Manifest

A, B = "a" * 64, "b" * 64
FILE = File(A, 1)

_names = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1
).filter(lambda name: not {"\\", "/", ":"}.intersection(name) and name not in (".", ".."))
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)
_files = st.builds(File, st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 10**6))


def test_a_manifest_is_sorted_by_the_bytes_of_its_paths() -> None:
    paths = ["b/a", "a.py", "a/b.py", "\U0001f40d", "\uff5e", "Z"]
    found = Manifest.of((each, File(A, at)) for at, each in enumerate(paths))
    assert list(found.files) == sorted(paths, key=str.encode)
    assert found.text.splitlines()[:2] == [f"{A} 5 Z", f"{A} 1 a.py"]
    assert found.size == sum(range(6))


def test_the_digest_is_that_of_the_text() -> None:
    found = Manifest.of([("shop/__init__.py", File(B, 12))])
    assert found.text == f"{B} 12 shop/__init__.py\n"
    digest = hashlib.sha256(found.text.encode()).digest()
    assert found.digest == base64.urlsafe_b64encode(digest).decode().rstrip("=")


@settings(max_examples=40)
@given(st.dictionaries(_paths, _files, min_size=1, max_size=5))
def test_a_manifest_survives_its_text(files: dict[str, File]) -> None:
    found = Manifest.of(files.items())
    assert Manifest.parse(found.text) == found
    assert dict(found.files) == files


@settings(max_examples=40)
@given(st.text() | st.lists(st.sampled_from([A, B, *" \n10a/."])).map("".join))
def test_any_text_either_is_a_manifest_to_the_letter_or_is_refused(text: str) -> None:
    try:
        found = Manifest.parse(text)
    except MalformedError:
        return
    assert found.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{A} 1 a",
        f"{A} 1 a\n\n",
        f"{A} 1 a\r\n",
        f"\ufeff{A} 1 a\n",
        f"{A}  1 a\n",
        f"{A} 01 a\n",
        f"{A} -1 a\n",
        f"{A} \u0661 a\n",
        f"{A} {'9' * 17} a\n",
        f"{A[1:]} 1 a\n",
        f"{A.upper()} 1 a\n",
        f"{A} 1 \n",
        f"{A} 1 b\n{A} 1 a\n",
        f"{A} 1 a\n{A} 1 a\n",
        f"{A} 1 .\n{A} 1 a\n",
    ],
)
def test_what_is_no_manifest_to_the_letter_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match=r"\Aexpected "):
        Manifest.parse(text)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "C:/a", "c:a", "a\\b", "a\nb",
     "a\x1b[2J", "a\x85b", "a\u2028b", "a\udce4", "", "/", "..", "x" * (MAX_PATH + 1),
     "\u00e4" * (MAX_PATH // 2 + 1)],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_or_hides_is_refused(path: str) -> None:
    with pytest.raises(MalformedError) as refused:
        Manifest.of([(path, FILE)])
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "path", ["a b", " a", "...", "..a/b..", "\u00e4", "ab:c/d", "x" * MAX_PATH, "."]
)
def test_any_other_path_stands_in_a_manifest(path: str) -> None:
    assert list(Manifest.parse(Manifest.of([(path, FILE)]).text).files) == [path]


def test_files_are_taken_only_while_they_keep_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(size: int, name: str = ""):
        at = 0
        while True:
            at += 1
            yield f"{name}{at}", File(A, size)

    with pytest.raises(MalformedError, match="at most 4294967296 bytes in all"):
        Manifest.of(endless(MAX_SIZE // 4))
    with pytest.raises(MalformedError, match="a manifest of at most"):
        Manifest.of(endless(0, "x" * 1000))
    with pytest.raises(MalformedError, match="a manifest of at most"):
        Manifest.parse("x" * (MAX_TEXT + 1))
    monkeypatch.setattr(manifest, "MAX_FILES", 100)
    with pytest.raises(MalformedError, match="at most 100 files"):
        Manifest.of(endless(0))
    assert MAX_FILES == 100_000


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        ("shop/__init__.py", True),
        ("shop/__pycache__/a.cpython-312.pyc", False),
        ("shop/__pycache__/anything", False),
        ("__pycache__", True),
        ("shop/a.pyc", False),
        ("shop-1.4.dist-info/METADATA", True),
        ("shop-1.4.dist-info/RECORD", False),
        ("vendored/shop-1.4.dist-info/RECORD", False),
        ("shop-1.4.dist-info/INSTALLER", False),
        ("shop-1.4.dist-info/licenses/RECORD", True),
        ("RECORD", True),
        ("shop/direct_url.json", True),
    ],
)
def test_what_is_written_where_a_release_is_installed_does_not_count(
    path: str, counted: bool
) -> None:
    assert manifest.counts(path) is counted
