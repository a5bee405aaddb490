"""Places to look at: bounded in time and bytes, and never more than bytes."""

from __future__ import annotations

import gzip
import threading
import time

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.backups.sources import Copy, SourceError, Unusable, Web, copy_of, source
from livepin_server.errors import BackupError

PATH = "v1/acme/config/main"


def read(place, *, limit=1000, seconds=10.0):
    return place.read(PATH, limit=limit, until=time.monotonic() + seconds)


def test_what_is_there_is_given_and_what_is_not_is_none(site):
    found = site()
    web = Web(name=found.url + "/")
    assert read(web) is None
    found.put(PATH, b"x" * 1000)
    assert read(web) == b"x" * 1000
    found.put(PATH, b"", 410)
    assert read(web) is None
    assert found.asked == [f"/{PATH}"] * 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((b"x" * 1001, 200, {}), "at most 1000 bytes"),
        ((b"", 500, {}), "found 500"),
        ((b"", 302, {"Location": "/elsewhere"}), "found 302"),
        ((gzip.compress(bytes(100)), 200, {"Content_Encoding": "gzip"}), "no content encoding"),
    ],
)
def test_any_other_answer_is_an_error_in_words(site, answer, reason):
    found = site()
    body, status, headers = answer
    found.put(PATH, body, status, **headers)
    with pytest.raises(SourceError, match=reason):
        read(Web(name=found.url))
    assert found.asked == [f"/{PATH}"]  # a redirect is not followed


def test_who_drips_its_answer_is_given_up_when_the_time_is_up(site):
    found = site()
    found.put(PATH, b"x" * 10)
    found.until = threading.Event()
    with pytest.raises(SourceError, match="no complete answer in time"):
        read(Web(name=found.url), seconds=-1)
    found.until.set()


def test_nobody_listens_or_the_name_is_none(site):
    with pytest.raises(SourceError, match="refused"):
        read(Web(name="http://127.0.0.1:1"))
    with pytest.raises(SourceError):
        read(Web(name="http://nowhere.invalid"))


def test_https_is_verified_by_the_ca_that_is_given_and_no_other():
    chain, other = make_chain("localhost"), make_chain("localhost")
    with RecordingServer(chain) as server:
        url = f"https://localhost:{server.port}"
        for ca in (other.authority.pem, None):
            with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
                read(Web(name=url, ca=ca))
        assert read(Web(name=url, ca=chain.authority.pem)) == b"ok"


def test_a_ca_that_is_none_is_an_error_in_words():
    with pytest.raises(SourceError):
        read(Web(name="https://127.0.0.1:1", ca="no certificate"))


def test_a_folder_is_read_as_far_as_the_bound(tmp_path):
    place = source(str(tmp_path), {})
    assert (place.name, place.live) == (str(tmp_path), False)
    assert read(place) is None
    file = tmp_path / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 1000)
    assert read(place) == b"x" * 1000
    file.write_bytes(b"x" * 1001)
    with pytest.raises(SourceError, match="at most 1000"):
        read(place)
    file.unlink()
    file.mkdir()
    with pytest.raises(SourceError, match="cannot read"):
        read(place)


def test_what_a_person_names_must_be_one():
    assert isinstance(source("https://pins.example.com/x", {}), Web)
    assert isinstance(source("/srv/www", {}), Copy)
    for text in ("ftp://x/y", "http://user:secret@x", "https://", "s3://key:secret@b"):
        with pytest.raises(BackupError, match="cannot look at") as caught:
            source(text, {})
        assert "found one" in str(caught.value) or "expected" in str(caught.value)


def test_what_a_server_exported_to_may_be_unusable_here():
    place = copy_of("ftp://x/y", {})
    assert isinstance(place, Unusable)
    with pytest.raises(SourceError, match="cannot look at ftp://x/y"):
        read(place)
