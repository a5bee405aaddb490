"""Logs: one JSON object a line, or text; API keys come through in neither."""

import datetime as dt
import json
import logging
import os
import subprocess
import sys

import pytest
from livepin_server.telemetry.logs import JsonFormatter, TextFormatter, redact

KEY = "lpk_0123456789ab_" + "S3cret-_" * 5 + "abc"


def record(message="hello", *args, **extra):
    found = logging.LogRecord("livepin.test", logging.WARNING, "x.py", 1, message, args, None)
    vars(found).update(extra)
    return found


def failed(exc):
    try:
        raise exc
    except Exception:
        found = record("it failed")
        found.exc_info = sys.exc_info()
        return found


@pytest.fixture(params=[JsonFormatter(), TextFormatter("%(levelname)s %(name)s: %(message)s")])
def formatter(request):
    return request.param


def test_a_record_is_one_line_of_json():
    found = record("hello %s", "you\nthere", account="acme", version=7)
    found.created = 1795435200.25
    line = JsonFormatter().format(found)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-23T12:00:00.250000+00:00",
        "level": "warning",
        "logger": "livepin.test",
        "message": "hello you\nthere",
        "account": "acme",
        "version": 7,
    }


def test_an_exception_is_in_the_same_line():
    line = JsonFormatter().format(failed(RuntimeError("first\nsecond")))
    assert "\n" not in line
    assert "RuntimeError: first\nsecond" in json.loads(line)["error"]


def test_what_json_does_not_know_is_text():
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    line = JsonFormatter().format(record(when=moment, what=b"x"))
    assert json.loads(line)["when"] == "2026-01-01 00:00:00+00:00"


def test_text_is_for_people_and_ends_with_what_was_added():
    formatter = TextFormatter("%(levelname)s %(name)s: %(message)s")
    line = formatter.format(record("hello %s", "you", account="acme", version=7))
    assert line == "WARNING livepin.test: hello you account=acme version=7"
    assert formatter.format(record("plain")) == "WARNING livepin.test: plain"


@pytest.mark.parametrize(
    "text", ["x\n2026 ERROR root: gone", "x\r", "\x1b[2J", "\u2028", "\u202egpj"]
)
def test_a_stranger_cannot_write_a_line_of_their_own_into_the_log(text):
    formatter = TextFormatter("%(levelname)s %(name)s: %(message)s")
    for line in (
        formatter.format(record("a client reports", report_host=text)),
        formatter.format(record(f"a client reports {text}")),
    ):
        assert line.isprintable()
        assert line.startswith("WARNING livepin.test: a client reports ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("x account=other", '"x account=other"'), ('"', r'"\""'), ("", '""'), ("/v1/a?b", "/v1/a?b")],
)
def test_a_stranger_cannot_add_a_member_to_a_line(text, shown):
    formatter = TextFormatter("%(message)s")
    assert formatter.format(record("hello", host=text)) == f"hello host={shown}"


def test_an_api_key_never_comes_through(formatter):
    secret = KEY.split("_", 2)[2]
    for found in (
        record(f"got {KEY}"),
        record("got %s", KEY),
        record("got", header=f"Bearer {KEY}"),
        record("got", headers={"authorization": [KEY]}),
        failed(ValueError(KEY)),
    ):
        line = formatter.format(found)
        assert secret not in line
        assert "S3cret" not in line
        assert "lpk_0123456789ab_..." in line  # which key it was may be known


@pytest.mark.parametrize("text", ["", "lpk_", "no key", "lpk_short_x", "LPK_0123456789ab_x"])
def test_other_text_stays_as_it_is(text):
    assert redact(text) == text


def test_two_keys_in_one_text_both_go():
    assert redact(f"{KEY},{KEY}") == "lpk_0123456789ab_...,lpk_0123456789ab_..."


CONFIGURED = """
import logging, sys
from livepin_server.telemetry.logs import configure
configure(sys.argv[1], sys.argv[2])
configure(sys.argv[1], sys.argv[2])
for name in ("livepin.server", "httpx", "httpcore", "alembic", "alembic.runtime"):
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), level)("%s %s", name, level)
"""


def configured(level, form):
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED, level, form],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TZ": "UTC"},
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_logs_go_to_standard_error_once_from_their_level_on(level, count):
    found = [json.loads(line) for line in configured(level, "json")]
    ours = [each["level"] for each in found if each["logger"] == "livepin.server"]
    assert ours == ["debug", "info", "warning", "error"][-count:]


def test_noisy_libraries_are_heard_from_warnings_on():
    found = [json.loads(line) for line in configured("debug", "json")]
    noisy = [each["level"] for each in found if each["logger"] != "livepin.server"]
    assert set(noisy) == {"warning", "error"}


def test_text_logs_have_time_level_and_name():
    (line,) = [each for each in configured("error", "text") if "livepin.server" in each]
    assert line.endswith(" ERROR livepin.server: livepin.server error")
