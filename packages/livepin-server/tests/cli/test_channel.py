"""livepin channel: added without a secret in the process list, tried, listed, removed."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import pytest
from livepin_server import folder
from livepin_server.services.monitoring.outbox import put
from notices import notice

KEY = "R0ut1ngK3yR0ut1ngK3yR0ut1ngK3y12"


def test_what_is_no_text_is_refused_as_that(run, data, monkeypatch, tmp_path) -> None:
    """An encrypted file in place of what is in it; its bytes are in no traceback."""
    file = tmp_path / "key.gpg"
    file.write_bytes(b"\x85\x01\x8c\x03s3cr3t")
    for given in (file, "-"):
        with file.open(encoding="utf-8") as stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            done = run("channel", "add", "pagerduty", "ops", "--secret-file", given)
        assert (done.code, "is not text" in done.err, "s3cr3t" in done.err) == (2, True, False)


def test_until_there_is_one_the_command_for_it_is_told(run, data) -> None:
    assert run("channel", "list").out.splitlines()[1].strip().startswith("livepin channel add")
    assert "nobody will be told" in run("status").err
    done = run("channel", "add", "email", "ops", "--to", "ops@example.com")
    assert done.out.splitlines() == [
        "ops tells ops@example.com: warning and worse.", "Try it: livepin channel test ops",
    ]  # fmt: skip
    assert "nobody will be told" not in run("status").err
    assert run("channel", "list").out.splitlines()[1].split()[:3] == [
        "ops",
        "email",
        "ops@example.com",
    ]
    done = run("channel", "remove", "ops")
    assert (done.out, "nobody will be told" in done.err) == ("ops is removed.\n", True)


def test_a_webhooks_secret_is_shown_once(run, data) -> None:
    done = run("channel", "add", "webhook", "chat", "--url", "https://hooks.example.com/x")
    secret = done.out.splitlines()[2].strip()
    assert secret.startswith("whsec_")
    for command in (("channel", "list", "--json"), ("audit", "log", "--json")):
        assert secret not in run(*command).out


def test_a_secret_comes_from_a_file_a_variable_or_a_person(
    run, data, tmp_path, monkeypatch, terminal
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert run("channel", "add", "pagerduty", "one", "--secret-file", file).code == 0
    with monkeypatch.context() as patch:
        patch.setenv("LIVEPIN_CHANNEL_SECRET", KEY)
        assert run("channel", "add", "pagerduty", "two").code == 0
    asked = terminal("channel", "add", "pagerduty", "three", "--data", str(data))
    asked.until("Routing key: ")
    asked.type(f"{KEY}\n")
    assert asked.end() == 0
    assert KEY not in asked.text
    assert KEY not in run("channel", "list", "--json").out
    assert len(run("channel", "list", "--json").json) == 3


def test_what_cannot_be_sent_is_said_and_the_test_ends_with_1(run, data) -> None:
    run("channel", "add", "email", "ops", "--to", "ops@example.com")
    done = run("channel", "test", "ops")
    assert (done.code, "SMTP" in done.out) == (1, True)
    assert "1        0     no SMTP server is set" in run("channel", "list").out
    assert run("channel", "dead", "ops").out.startswith("Whatever ops was given is delivered")
    assert run("channel", "retry", "ops").out == "0 notices of ops sent again.\n"
    assert run("channel", "retry", "ops", "--drop").out == "0 notices of ops dropped.\n"


def test_what_is_out_of_date_is_not_sent_and_can_be_dropped(run, data) -> None:
    run("channel", "add", "email", "ops", "--to", "ops@example.com")

    def clock():
        return datetime.now(timezone.utc)

    with folder.opened(data, {}, clock=clock) as opened:
        services = opened.services
        for event in ("opened", "resolved"):
            said = notice(event=event)
            services.database.write(lambda each, said=said: put(each, said, clock()))
        for trouble in ("no route", None):
            (one,) = services.outbox.claim(1, lease=timedelta(minutes=1))
            if trouble:
                services.outbox.failed(one, trouble, permanent=True)
            else:
                services.outbox.delivered(one)
    assert run("channel", "retry", "ops").out.splitlines() == [
        "0 notices of ops sent again.", "1 notice out of date, so not sent. To forget all of it:",
        "  livepin channel retry ops --drop",
    ]  # fmt: skip
    assert run("channel", "retry", "ops", "--drop").out == "1 notice of ops dropped.\n"
    assert run("channel", "list", "--json").json[0]["dead"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("add", "email", "ops", "--to", "ops"), 2, "an address"),
        (("add", "email", "O p s", "--to", "ops@example.com"), 2, "expected a channel name"),
        (("add", "pagerduty", "ops"), 2, "expected a secret: Routing key"),
        (("add", "webhook", "ops"), 2, "expected --url URL or --url-file FILE"),
        (("add", "webhook", "ops", "--url", "https://u:p@h.example/"), 2, "in the process list"),
        (("add", "webhook", "ops", "--url", "http://[::1"), 2, ""),
        (("add", "webhook", "ops", "--url", "http://127.0.0.1/"), 2, ""),
        (
            ("add", "alertmanager", "a", "--url", "https://x.example", "--user", "u"),
            2,
            "Password",
        ),
        (("add", "fax", "ops"), 2, ""),
        (("test", "opz"), 3, "there is no channel yet"),
        (("remove", "opz"), 3, "there is no channel 'opz'"),
        (("dead", "opz"), 3, "there is no channel 'opz'"),
        (("retry", "opz"), 3, "there is no channel 'opz'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(run, data, arguments, code, text) -> None:
    done = run("channel", *arguments)
    assert (done.code, text in done.err) == (code, True), (done.code, done.err)


def test_a_secret_that_is_none_is_not_repeated(run, data, tmp_path) -> None:
    """Whoever pastes a wrong thing finds it in no terminal and no log."""
    file = tmp_path / "key"
    for text in ("s3cr3t\nof two lines", "", "s3cr3t" * 1000, "s3cr3t"):
        file.write_text(text)
        done = run("channel", "add", "pagerduty", "ops", "--secret-file", file)
        assert (done.code, "s3cr3t" in done.out + done.err) == (2, False)
