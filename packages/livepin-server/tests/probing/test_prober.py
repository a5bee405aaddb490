"""A prober and its children, against real servers: what comes back, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from livepin.testing import make_authority, make_chain, make_key
from livepin_server.probing.answering import Batch, answer
from livepin_server.probing.child import COMMAND
from livepin_server.probing.looks import ALGORITHMS, Known, Look, Question
from livepin_server.probing.prober import Prober
from tls_servers import HOST, connect, context

SLOW = 60.0  # seconds: long enough on any machine


def children() -> set[int]:
    """The probing processes that this one has started and that still run."""
    found = set()
    for entry in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):  # a thread or a child has just ended
            for text in entry.read_text().split():
                if b"livepin_server.probing\0looks" in Path(f"/proc/{text}/cmdline").read_bytes():
                    found.add(int(text))
    return found


@pytest.fixture
def start() -> Iterator[Callable[..., Prober]]:
    """Start probers, which the end of the test closes."""
    made: list[Prober] = []

    def one(**options) -> Prober:
        made.append(Prober(**{"processes": 1, **options}))
        return made[-1]

    yield one
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    """A prober for all tests that do it no harm."""
    found = Prober(processes=1)
    yield found
    found.close()


@pytest.fixture(scope="module")
def rsa_authority():
    """A CA with an RSA key."""
    return make_authority("RSA CA", key=make_key("rsa"))


def told(look: Look) -> dict[str, tuple[bool, str | None, str | None]]:
    """What was seen for each algorithm."""
    return {
        each.algorithm: (
            each.observation.verified,
            each.observation.failure,
            each.observation.chain[0].key_type if each.observation.chain else None,
        )
        for each in look.sights
        if each.observation is not None
    }


GOOD_ECDSA, GOOD_RSA = (True, None, "EC secp256r1"), (True, None, "RSA-2048")
NONE = (False, "no_certificate", None)


@pytest.mark.parametrize("tls12", [False, True])
def test_both_certificates_are_seen_apart_and_an_rsa_ca_may_stand_behind_an_ecdsa_key(
    prober, servers, rsa_authority, tls12: bool
) -> None:
    ecdsa = make_chain(HOST, authority=rsa_authority)
    rsa = make_chain(HOST, authority=rsa_authority, key=make_key("rsa"))
    served = [context(*each, tls12=tls12) for each in ((ecdsa, rsa), (ecdsa,), (rsa,))]
    asked = [
        Question(id=n, host=HOST, connect=connect(servers.tls(each)), ca=rsa_authority.pem)
        for n, each in enumerate(served)
    ]
    both, first, second = sorted(prober.look(asked), key=lambda each: each.id)
    assert told(both) == {"ecdsa": GOOD_ECDSA, "rsa": GOOD_RSA}
    assert told(first) == {"ecdsa": GOOD_ECDSA, "rsa": NONE}
    assert told(second) == {"ecdsa": NONE, "rsa": GOOD_RSA}
    assert both.elapsed_ms > 0

    again = [
        Question(
            id=look.id,
            host=HOST,
            connect=asked[look.id].connect,
            known=[
                Known(
                    address=sight.address,
                    algorithm=sight.algorithm,
                    digest=sight.observation.digest or "",
                )
                for sight in look.sights
            ],
        )
        for look in (both, first, second)
    ]
    for look in prober.look(again):
        assert [(each.engine, each.observation) for each in look.sights] == [("fast", None)] * 2


def test_each_question_has_one_look_also_where_numbers_are_the_same(
    prober, servers, chain, authority
) -> None:
    good = connect(servers.tls(chain))
    asked = [Question(id=7, host=HOST, connect=good, ca=authority.pem)] * 3
    asked.append(Question(id=8, host=HOST, connect=connect(servers.refusing())))
    asked.append(Question(id=9, host="a..b"))
    found = sorted(prober.look(asked), key=lambda each: each.id)
    assert [each.id for each in found] == [7, 7, 7, 8, 9]
    assert [told(each)["ecdsa"] for each in found[:3]] == [GOOD_ECDSA] * 3
    assert {o for o, *_ in told(found[3]).values()} == {False}
    assert (found[4].failure, found[4].sights) == ("no_address", [])
    assert list(prober.look([])) == []


def test_a_batch_over_two_processes_is_answered_whole(start, servers, chain, authority) -> None:
    good = connect(servers.tls(chain))
    asked = [Question(id=n, host=HOST, connect=good, ca=authority.pem) for n in range(40)]
    found = list(start(processes=2).look(asked))
    assert sorted(each.id for each in found) == [*range(40)]
    assert {told(each)["ecdsa"] for each in found} == {GOOD_ECDSA}
    assert len(children()) >= 4


# -- what becomes of children ----------------------------------------------------------------------


def test_a_child_that_is_killed_in_mid_batch_costs_no_answer(
    start, servers, chain, authority, until
) -> None:
    other, prober = children(), start(patience=SLOW)
    first, over = threading.Event(), threading.Event()
    served = context(chain)

    def behave(sock) -> None:
        if not first.is_set():
            first.set()
            over.wait(SLOW)
            return
        with served.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    port = servers.start(behave)
    asked = [Question(id=1, host=HOST, connect=connect(port), ca=authority.pem)]
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(lambda: list(prober.look(asked)))
        assert first.wait(SLOW)
        for pid in children() - other:
            os.kill(pid, signal.SIGKILL)
        over.set()
        (look,) = looking.result(SLOW)
    assert told(look)["ecdsa"] == GOOD_ECDSA


def test_a_question_that_ends_every_child_is_a_timeout_and_ends_the_look(start) -> None:
    asked = [Question(id=4, host=HOST)]
    (look,) = start(command=["/bin/false"]).look(asked, seconds=SLOW)
    assert (look.id, look.failure, look.sights) == (4, "timeout", [])
    assert look.error == "it was not seen in time"


def test_nothing_is_said_where_there_is_no_child_to_be_had(start) -> None:
    asked = [Question(id=4, host=HOST)]
    assert list(start(command=["/nonexistent"]).look(asked, seconds=SLOW)) == []


def test_what_there_was_no_time_for_is_not_said_to_be_silent(start, servers) -> None:
    prober, silent, refused = start(at_once=1, patience=SLOW), servers.silent(), servers.refusing()
    asked = [Question(id=n, host=HOST, connect=connect(silent)) for n in range(3)]
    other = Question(id=7, host=HOST, connect=connect(refused))
    assert [each.id for each in prober.look([other])] == [7]
    stayed = children()
    assert list(prober.look(asked, seconds=5.0)) == []
    assert servers.connections[silent] <= 2  # one for each algorithm
    (look,) = prober.look([other])
    assert [each.observation.failure for each in look.sights] == ["refused"] * 2
    assert children() == stayed  # the same ones: their time was up, and they said so


SIGHT = {"address": "127.0.0.1", "algorithm": "ecdsa", "engine": "fast"}


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"{\n",
        msgspec.json.encode({"id": 1, "failure": "refused"}) + b"\n",  # nobody asked that
        msgspec.json.encode({"id": 0}) + b"\n",  # no sight and no failure
        msgspec.json.encode({"id": 0, "sights": [SIGHT]}) + b"\n",  # `fast`, of what is not known
        msgspec.json.encode({"id": 0, "sights": [{**SIGHT, "algorithm": "x"}]}) + b"\n",
        b"x" * (2 * 1024 * 1024),
    ],
)
def test_a_child_that_answers_nonsense_is_not_believed(start, tmp_path, line: bytes) -> None:
    (tmp_path / "line").write_bytes(line)
    command = [sys.executable, "-c", _SAYING, str(tmp_path / "line")]
    (look,) = start(command=command).look([Question(id=4, host=HOST)], seconds=SLOW)
    assert (look.id, look.failure, look.sights) == (4, "timeout", [])


_SAYING = "import sys; sys.stdout.write(open(sys.argv[1]).read()); sys.stdout.flush(); input()"
_HANGING = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(600)"


def test_a_child_that_gives_no_sign_of_life_is_ended_and_asked_anew_once(start, tmp_path) -> None:
    command = [sys.executable, "-c", _HANGING, str(tmp_path / "starts")]
    started = time.monotonic()
    prober = start(command=command, silence=1.5)
    (look,) = prober.look([Question(id=4, host=HOST)], seconds=SLOW)
    assert look.failure == "timeout"
    assert time.monotonic() - started < SLOW / 2
    assert len((tmp_path / "starts").read_text()) <= 4


def test_a_look_ends_in_time_whatever_children_do(start, tmp_path) -> None:
    command = [sys.executable, "-c", _HANGING, str(tmp_path / "starts")]
    started = time.monotonic()
    assert list(start(command=command).look([Question(id=4, host=HOST)], seconds=1.0)) == []
    assert time.monotonic() - started < 15


def test_one_algorithm_that_was_not_seen_is_never_as_if_it_were_fine(start, tmp_path) -> None:
    seen = {"address": "127.0.0.1", "engine": "verified", "algorithm": "ecdsa"}
    seen["observation"] = {"host": HOST, "port": 443, "failure": "refused"}
    (tmp_path / "line").write_bytes(msgspec.json.encode({"id": 0, "sights": [seen]}) + b"\n")
    command = [sys.executable, "-c", _SAYING, str(tmp_path / "line")]
    (look,) = start(command=command).look([Question(id=4, host=HOST)], seconds=SLOW)
    first, second = look.sights
    assert (first.algorithm, first.observation.failure) == ("ecdsa", "refused")
    assert (second.address, second.algorithm) == ("127.0.0.1", "rsa")
    assert (second.engine, second.observation.failure) == ("verified", "timeout")


def test_who_takes_no_more_looks_has_the_others_ended(start, servers) -> None:
    other = children()
    refused, silent = connect(servers.refusing()), connect(servers.silent())
    asked = [Question(id=n, host=HOST, connect=c) for n, c in enumerate((refused, silent))]
    looking = start(patience=SLOW).look(asked)
    assert next(looking).id == 0
    looking.close()
    assert children() == other


def test_closing_ends_a_look_that_goes_on(start, servers, until) -> None:
    other, prober, port = children(), start(patience=SLOW), servers.silent()
    with ThreadPoolExecutor(1) as pool:
        asked = [Question(id=1, host=HOST, connect=connect(port))]
        looking = pool.submit(lambda: list(prober.look(asked)))
        until(lambda: servers.connections[port] == 2)
        prober.close()
        assert looking.result(SLOW) == []
    assert children() == other
    assert list(prober.look(asked, seconds=5.0)) == []
    assert children() == other


def test_nothing_is_left_after_closing(servers, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # others look at the same time
    other = children()
    asked = [Question(id=1, host=HOST, connect=connect(servers.refusing()))]
    before, held = _descriptors(), _configurations()
    prober = Prober(processes=2)
    for _ in range(2):
        assert len(list(prober.look([*asked, *asked]))) == 2
    made = _configurations() - held
    assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o600}
    assert len(children() - other) == 4
    prober.close()
    prober.close()
    assert (children(), _descriptors(), _configurations()) == (other, before, held)
    Prober().close()


def _descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir() if each.is_fifo()}


def _configurations() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("livepin-look-*.cnf"))


def test_a_child_that_has_died_in_between_is_replaced(start) -> None:
    other, prober = children(), start()
    asked = [Question(id=1, host="a..b")]
    assert [each.failure for each in prober.look(asked)] == ["no_address"]
    for pid in children() - other:
        os.kill(pid, signal.SIGKILL)
    assert [each.failure for each in prober.look(asked)] == ["no_address"]


def test_children_do_not_know_the_servers_secrets(start, monkeypatch) -> None:
    other = children()
    for name in ("LIVEPIN_MASTER_KEY", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "A_NEW_TOKEN"):
        monkeypatch.setenv(name, "the secret of the server")
    list(start().look([Question(id=1, host="a..b")]))
    found = [Path(f"/proc/{pid}/environ").read_bytes() for pid in children() - other]
    assert len(found) == 2
    assert all(b"OPENSSL_CONF=" in each for each in found)
    assert not any(b"the secret of the server" in each for each in found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_child_whose_server_is_gone_ends_by_itself(servers, until, algorithm: str) -> None:
    port = servers.silent()
    batch = Batch(
        seconds=SLOW,
        patience=SLOW,
        at_once=4,
        questions=[Question(id=1, host=HOST, connect=connect(port))],
    )
    command = [*COMMAND, "looks", algorithm]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        child.stdin.write(msgspec.json.encode(batch) + b"\n")
        child.stdin.flush()
        until(lambda: servers.connections[port])
        child.stdin.close()
        child.stdout.close()
        assert child.wait(SLOW) != 0


def test_a_child_ends_with_its_questions() -> None:
    command = [*COMMAND, "looks", "rsa"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=SLOW, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_child_gives_signs_of_life_and_answers_each_batch(servers) -> None:
    refused, silent = servers.refusing(), servers.silent()
    asked = b""
    for port in (silent, refused):
        batch = Batch(
            seconds=SLOW,
            patience=2.5,
            at_once=4,
            questions=[Question(id=port, host=HOST, connect=connect(port))],
        )
        asked += msgspec.json.encode(batch) + b"\n"
    told = BytesIO()
    answer("ecdsa", BytesIO(asked), told)
    lines = told.getvalue().splitlines()
    assert b"" in lines
    found = [msgspec.json.decode(each, type=Look) for each in lines if each]
    failures = [(each.id, each.sights[0].observation.failure) for each in found]
    assert failures == [(silent, "timeout"), (refused, "refused")]
