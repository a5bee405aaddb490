"""Everything else: a real apprise in a child, ended when it takes too long."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from livepin_server.monitor.notifiers.apprise import AppriseNotifier, is_installed
from livepin_server.monitor.notifiers.apprise_child import Message, send
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import Apprise
from notices import COMMANDS, posted


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture
def chat():
    """A receiver as Mattermost has it, in cleartext on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.got, server.status = [], 200
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def mattermost(chat, **members):
    url = f"mmost://127.0.0.1:{chat.server_port}/abcdefghijklmnopqrstuvwxyz"
    return Apprise(url=url, **{"allow_private": True, **members})


def test_a_message_arrives_with_each_command_on_a_line_by_itself(chat, tell):
    tell(AppriseNotifier(patience=60), posted(mattermost(chat), lines=["more"], command=COMMANDS))
    ((path, body),) = chat.got
    assert path == "/hooks/abcdefghijklmnopqrstuvwxyz"
    text = json.dumps(body)
    assert "apps cannot connect to api.example.com" in text
    assert json.dumps(f"\n{COMMANDS}\n")[1:-1] in text


def test_a_service_that_does_not_take_it_is_asked_again(chat, tell):
    chat.status = 500
    with pytest.raises(TellError, match="did not take it") as caught:
        tell(AppriseNotifier(patience=60), posted(mattermost(chat)))
    assert not caught.value.permanent


def test_a_url_that_apprise_cannot_read_is_permanent(tell):
    with pytest.raises(TellError, match="apprise cannot read the URL") as caught:
        tell(AppriseNotifier(patience=60), posted(Apprise(url="slack://x")))
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "apprise did not end within 0.2 seconds"),
        ("print('garbage')", "apprise did not end well"),
        ("import os; os._exit(1)", "apprise did not end well"),
    ],
)
def test_a_child_that_hangs_or_breaks_is_ended(tell, program, reason):
    patience = 0.2 if "sleep" in program else 60
    notifier = AppriseNotifier(command=[sys.executable, "-c", program], patience=patience)
    with pytest.raises(TellError, match=reason) as caught:
        tell(notifier, posted(Apprise(url="slack://x")))
    assert not caught.value.permanent


def test_the_url_is_in_no_list_of_processes_and_the_child_gets_no_secret(tell, monkeypatch):
    monkeypatch.setenv("LIVEPIN_SMTP_PASSWORD", "hunter2")
    program = (
        "import os, sys; said = str(sys.argv) + str(dict(os.environ)); "
        "print('{\"trouble\": \"told\"}' if 'TokenX' in said or 'hunter2' in said else '{}')"
    )
    notifier = AppriseNotifier(command=[sys.executable, "-c", program], patience=60)
    tell(notifier, posted(Apprise(url="slack://TokenX/b/c")))


def test_another_service_is_refused_also_by_the_child():
    answer = send(Message(url="syslog://", allow_private=True, title="t", body="b", type="info"))
    assert answer.permanent
    assert is_installed()
