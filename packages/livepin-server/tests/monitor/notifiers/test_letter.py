"""The mail that a notice is: what people need first, nothing that loads, and no thread lost."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin_server.monitor.notifiers.letter import letter
from livepin_server.monitor.notifiers.telling import lasting, mending, plain
from livepin_server.services.monitoring.channel_kinds import Email
from notices import COMMAND, COMMANDS, HAPPENED, notice, posted

MAIL = Email(to=["ops@example.com"])


def write(**members):
    return letter(posted(MAIL, **members), sender="livepin@example.com", to=MAIL.to)


def text(mail, kind="plain"):
    return mail.get_body((kind,)).get_content()


def test_the_subject_says_how_bad_it_is_which_domain_and_what():
    title = "apps cannot connect to api.example.com"
    assert write()["Subject"] == f"[Livepin] critical: {title}"
    assert write(title="it broke")["Subject"] == "[Livepin] critical: api.example.com: it broke"
    resolved = write(event="resolved", duration=7200)
    assert resolved["Subject"] == f"[Livepin] critical: resolved: {title}"
    assert "for 2 hours" in text(resolved)
    assert (
        write(event="test", title="t", domain="", incident=None)["Subject"] == "[Livepin] test: t"
    )


def test_mails_of_an_incident_are_one_conversation_and_nobody_answers():
    first, second = write(key="a"), write(key="b", event="resolved")
    assert first["Message-ID"] != second["Message-ID"]
    assert first["References"] == second["References"] == "<incident-7.acme.livepin@example.com>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert write(incident=None)["References"] is None
    assert write(key="a").as_bytes().split(b"boundary")[0] == first.as_bytes().split(b"boundary")[0]


def test_both_forms_say_all_of_it():
    mail = write(lines=["also www.example.com"], endpoints=2)
    for kind in ("plain", "html"):
        found = text(mail, kind)
        for each in (
            COMMAND, "192.0.2.1:443", "sha256/served", "sha256/pinned", "apps that follow main",
            "also www.example.com", "Nothing that api.example.com presents", "2026-11-23 11:59 UTC",
        ):  # fmt: skip
            assert each in found
    bare = write(command="", lines=[])
    assert "mend" not in text(bare)
    assert "<pre" not in text(bare, "html")


def test_a_long_command_can_be_copied_as_it_stands():
    command = "livepin pin add api.example.com " + " ".join(["sha256/" + "A" * 43 + "="] * 40)
    assert command in text(write(command=command)).splitlines()


def test_commands_for_two_domains_are_two_lines_each_as_it_stands():
    mail = write(command=COMMANDS)
    assert f"\nTo mend it:\n\n{COMMANDS}\n\n" in text(mail)
    pre = re.search("<pre[^>]*>(.*)</pre>", text(mail, "html"), re.S)
    assert html.unescape(pre[1]) == COMMANDS


def test_of_commands_that_do_not_fit_whole_ones_are_left():
    said = notice(command=COMMANDS)
    first, second = COMMANDS.split("\n")
    assert mending(said) == mending(said, most=len(COMMANDS)) == [first, second]
    assert mending(said, most=len(COMMANDS) - 1) == mending(said, most=len(first)) == [first]
    assert mending(notice(command=f"{first}\nrm -rf /\n{second}")) == [first, second]
    assert mending(said, most=len(first) - 1) == mending(notice(command="")) == []


def test_very_many_lines_are_counted():
    assert "and 50 more" in text(write(lines=["x"] * 150))


class Parsed(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.attributes = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]


@given(st.text(max_size=80))
def test_no_text_of_a_stranger_is_obeyed(said):
    mail = write(sentence=said, title=said, domain=said, command=said, lines=[said], apps=said)
    parsed = Parsed()
    parsed.feed(text(mail, "html"))
    assert set(parsed.tags) <= {
        "html", "head", "meta", "title", "body", "h2", "p", "pre", "table", "tr", "td",
    }  # fmt: skip
    assert set(parsed.attributes) <= {"style", "lang", "charset"}  # nothing is loaded, no link
    raw = mail.as_bytes()
    head = raw.partition(b"\r\n\r\n")[0]
    names = re.findall(rb"^([A-Za-z-]+):", head, re.M)
    assert len(names) == len(set(names)) == 10
    assert mail["To"] == "ops@example.com"


@pytest.mark.parametrize("each", ["\n", "\r", "\x00", "\x1b", "\u202e", "\u2028", "\ud800", "\x85"])
def test_what_does_something_in_a_terminal_or_header_is_replaced(each):
    assert plain(f"a{each}b") == "a?b"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"), (1, "1 second"), (60, "1 minute"), (7199, "1 hour"),
        (86400 * 3, "3 days"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_words(seconds, words):
    assert lasting(seconds) == words


def test_what_only_happened_says_what_its_command_is_for_and_joins_what_is_alike():
    mail = write(**HAPPENED)
    assert mail["Subject"] == "[Livepin] warning: an installation of shop was refused"
    assert mail["References"] == "<signal-fail-abc.acme.livepin@example.com>"
    assert f"\nTo see why:\n\n{HAPPENED['command']}\n" in text(mail)
    assert "To see why:</p>" in text(mail, "html")
