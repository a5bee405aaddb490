"""A URL of apprise can run a program, write a file, or ask any host: apprise does what it says."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading

import pytest
from livepin_server.errors import InvalidError
from livepin_server.monitor.notifiers.apprise import COMMAND, AppriseNotifier
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import SCHEMAS, Apprise, checked
from notices import posted


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/", "xml://h/", "form://h/", "jsons://h/", "syslog://", "rsyslog://h",
        "dbus://", "gnome://", "macosx://", "windows://", "file:///etc/passwd", "mailto://u:p@h",
        "http://h/", "https://h/", "apprise://h/t", "smsd://x", "exec://id", "python://x",
        "SLACK://a/b/c", " slack://a/b/c", "custom://x",
    ],
)  # fmt: skip
def test_a_service_that_does_more_than_take_messages_is_refused(url):
    with pytest.raises(InvalidError, match="expected a"):
        checked(Apprise(url=url))


def sent(url, *, allow_private=False, **members):
    notifier = AppriseNotifier(patience=60, **members)
    asyncio.run(notifier.tell(posted(Apprise(url=url, allow_private=allow_private))))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_service_with_a_host_of_its_own_does_not_lead_into_our_network(host):
    with socket.create_server(("127.0.0.1", 0)) as victim:
        port = victim.getsockname()[1]
        with pytest.raises(TellError, match="private address"):
            sent(f"mmosts://{host}:{port}/abcdefghijklmnopqrstuvwxyz")
        victim.setblocking(False)
        with pytest.raises(BlockingIOError):
            victim.accept()


def test_a_redirect_to_the_metadata_service_is_not_followed():
    """Whatever apprise follows, the address that it connects to is judged."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def redirect():
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(
                    b"HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/latest/\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )

        thread = threading.Thread(target=redirect)
        thread.start()
        url = f"mmost://127.0.0.1:{listener.getsockname()[1]}/abcdefghijklmnopqrstuvwxyz"
        with pytest.raises(TellError):
            sent(url, allow_private=True)
        thread.join()


@pytest.mark.parametrize("name", ["%20verify", "Verify%20"])
def test_certificates_are_verified_whatever_the_url_asks_for(name):
    """Who stands between gets the token; in a database, a URL may have passed no check of ours."""
    with pytest.raises(TellError, match="turn off a guard") as caught:
        sent(f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?{name}=no")
    assert caught.value.permanent


@pytest.mark.parametrize(
    "url",
    [
        "tgram://123456789:abcdefghijklmnopqrstuvwxyzabcdefghi/12315544/?template=",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?Template%20=",
    ],
)
def test_no_file_of_the_server_is_sent_to_whoever_the_url_names(tmp_path, url):
    """A template is read with our rights, and posted to a chat of the attacker's."""
    file = tmp_path / "secret.json"
    file.write_text('{"text": "s3cr3t", "blocks": []}')
    with pytest.raises(TellError, match="turn off a guard"):
        sent(f"{url}{file}", command=[*COMMAND[:-2], "-c", OFFLINE])


# A child without a network.
OFFLINE = """
import sys
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        raise OSError("no network")
sys.addaudithook(hook)
from livepin_server.monitor.notifiers.apprise_child import main
main()
"""


GUARDED = """
import json, os, socket, subprocess, sys
from livepin_server.monitor.notifiers.apprise_child import Message, RefusedError, guard
said = dict(url="slack://a", title="", body="", type="info")
sys.addaudithook(guard(Message(allow_private=False, **said)))
def tries():
    yield lambda: subprocess.run(["true"])
    yield lambda: os.system("true")
    yield lambda: os.fork()
    yield lambda: os.execv("/bin/true", ["true"])
    yield lambda: os.posix_spawn("/bin/true", ["true"], {})
    yield lambda: socket.socket().connect(("127.0.0.1", 1))
    yield lambda: socket.socket().connect_ex(("10.0.0.1", 1))
    yield lambda: socket.socket(socket.AF_INET6).connect(("::1", 1))
    yield lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")
    yield lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 514))
    yield lambda: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("127.0.0.1", 514))
found = []
for each in tries():
    try:
        each()
    except RefusedError as exc:
        found.append(str(exc))
    else:
        found.append(None)
print(json.dumps(found))
"""


def test_under_the_guard_nothing_is_started_and_nothing_of_ours_is_reached():
    done = subprocess.run(
        [sys.executable, "-c", GUARDED], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found[:5] == ["apprise may start no program"] * 5
    assert None not in found
    assert len(found) == 11


KNOWN = """
import apprise
found = apprise.Apprise().details()["schemas"]
print(*(name for each in found for kind in ("protocols", "secure_protocols")
        for name in each[kind] or ()))
"""


def test_what_may_be_asked_for_is_known_to_apprise_and_runs_no_module_of_the_folder():
    done = subprocess.run([sys.executable, "-c", KNOWN], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) >= SCHEMAS
    assert "-P" in COMMAND
