"""What a look at an endpoint costs, with either engine, beside other clients that verify.

One nginx for each algorithm, whose chain has an intermediate; all clients look at it in turns, each
look a fresh connection. CPU time of the client alone, its system calls included: of a child that
looks, of `openssl s_time -new -tls1_3 -verify 3`, and of Prometheus' blackbox exporter, if it is
installed, which is asked over a kept HTTP connection. `s_time` has one connection at a time, and
checks no host name: one for each processor runs, so that the servers beside are as busy as they are
with a child. The ratio is to OpenSSL's own client; medians of the rounds, and of their paired
ratios.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.testing import make_authority, make_chain, make_key
from livepin_server.listener import available_port
from livepin_server.probing.answering import Batch
from livepin_server.probing.child import COMMAND
from livepin_server.probing.looks import Algorithm, Known, Question
from livepin_server.probing.workers import Answers, Worker

from .machine import MissingError, cpu_seconds, program
from .nginx import Nginx

BUDGET = "`verified` at most OpenSSL's own client, `fast` at most a third of it: missed, ADR 0034"

_ROUNDS = 3
_LOOKS = 1_500
_SECONDS = 2  # of s_time
_HOST = "localhost"
_KEYS: dict[Algorithm, tuple[str, str]] = {"ecdsa": ("P-256", "ec"), "rsa": ("RSA-2048", "rsa")}
_MODULES = """\
modules:
  tls:
    prober: tcp
    timeout: 10s
    tcp: {{preferred_ip_protocol: ip4, tls: true,
          tls_config: {{ca_file: {ca}, server_name: {host}}}}}
"""

_Client = Callable[[], tuple[float, float]]  # CPU seconds and looks a second, of one round


def run() -> dict[str, Any]:
    """Return microseconds of CPU for a look, looks a second, and the ratio to OpenSSL's client."""
    found: dict[str, Any] = {}
    for algorithm, (words, kind) in _KEYS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ca = _write(folder, kind)
            place = folder / "nginx"
            place.mkdir()
            pem, key = folder / "chain.pem", folder / "key.pem"
            with contextlib.ExitStack() as stack:
                nginx = stack.enter_context(Nginx(place, certificate=pem, key=key))
                clients = stack.enter_context(_clients(folder, algorithm, nginx.port, ca))
                found |= {f"{words}, {each}": row for each, row in _compare(clients).items()}
    return found


def _write(folder: Path, kind: str) -> str:
    """Write a chain of three with its key, and its CA; return that."""
    authority = make_authority(key=make_key(kind))
    between = make_authority("Intermediate CA", issuer=authority, key=make_key(kind))
    chain = make_chain(_HOST, authority=authority, intermediate=between, key=make_key(kind))
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain.presented)
    (folder / "chain.pem").write_bytes(pem)
    key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "ca.pem").write_text(authority.pem)
    return authority.pem


def _compare(clients: dict[str, _Client]) -> dict[str, dict[str, float]]:
    found: dict[str, list[tuple[float, float]]] = {each: [] for each in clients}
    for _ in range(_ROUNDS):
        for name, client in clients.items():
            found[name].append(client())
    reference = [cpu for cpu, _ in next(iter(found.values()))]
    return {
        name: {
            "CPU µs": round(statistics.median(cpu for cpu, _ in rounds) * 1e6, 0),
            "looks/s": round(statistics.median(rate for _, rate in rounds)),
            "ratio": round(
                statistics.median(a / b for (a, _), b in zip(rounds, reference, strict=True)), 2
            ),
        }
        for name, rounds in found.items()
    }


@contextlib.contextmanager
def _clients(
    folder: Path, algorithm: Algorithm, port: int, ca: str
) -> Iterator[dict[str, _Client]]:
    """Give the clients: OpenSSL's first, to which the others are compared."""
    question = Question(id=0, host=_HOST, connect=f"127.0.0.1:{port}", ca=ca)
    with contextlib.ExitStack() as stack:
        worker = Worker([*COMMAND, "looks"], algorithm, dict(os.environ))
        stack.callback(worker.end)
        digest = _looks(worker, [question])
        has = Known(address="127.0.0.1", algorithm=algorithm, digest=digest)
        known = Question(id=0, host=_HOST, connect=question.connect, ca=ca, known=[has])
        clients: dict[str, _Client] = {
            "`openssl s_time`": lambda: _s_time(folder, port),
            "`verified`": lambda: _measured(worker, question),
            "`fast`": lambda: _measured(worker, known),
        }
        with contextlib.suppress(MissingError):
            pid, other = stack.enter_context(_exporter(folder))
            clients["blackbox exporter"] = lambda: _exported(pid, other, port)
        yield clients


def _looks(worker: Worker, questions: list[Question]) -> str:
    """Have a child look; return the digest of what it saw last, empty where it was as known."""
    answers: Answers = Answers()
    batch = Batch(seconds=120, patience=30, at_once=64, questions=questions)
    worker.ask(batch, answers)
    digest = ""
    for _ in questions:
        _, look = answers.get()
        assert look is not None
        seen = look.sights[0].observation
        assert seen is None or seen.verified, seen
        digest = (seen.digest if seen else None) or ""
    answers.get()
    return digest


def _measured(worker: Worker, question: Question) -> tuple[float, float]:
    asked = [
        Question(
            id=at,
            host=question.host,
            connect=question.connect,
            ca=question.ca,
            known=question.known,
        )
        for at in range(_LOOKS)
    ]
    before, started = cpu_seconds([worker.pid]), time.perf_counter()
    digest = _looks(worker, asked)
    assert bool(digest) != bool(question.known)
    took = time.perf_counter() - started
    return (cpu_seconds([worker.pid]) - before) / _LOOKS, _LOOKS / took


def _s_time(folder: Path, port: int) -> tuple[float, float]:
    command = [
        program("openssl", "openssl"), "s_time", "-new", "-tls1_3", "-verify", "3",
        "-CAfile", f"{folder}/ca.pem", "-connect", f"127.0.0.1:{port}", "-time", str(_SECONDS),
    ]  # fmt: skip
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    said = "".join(each.communicate()[0] for each in running)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    counts = re.findall(r"^(\d+) connections in \d+ real", said, re.MULTILINE)
    if len(counts) != len(running):
        raise RuntimeError(f"expected what openssl s_time has counted, found {said[-500:]}")
    count = sum(map(int, counts))
    return cpu / count, count / took


@contextlib.contextmanager
def _exporter(folder: Path) -> Iterator[tuple[int, http.client.HTTPConnection]]:
    """Start the exporter; give its process, and a connection to it."""
    name = "prometheus-blackbox-exporter"
    path, port = program(name, name), available_port("127.0.0.1", 0)
    modules = folder / "blackbox.yml"
    modules.write_text(_MODULES.format(ca=folder / "ca.pem", host=_HOST))
    command = [path, f"--config.file={modules}", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                connection.connect()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield process.pid, connection
    finally:
        connection.close()
        process.terminate()
        process.wait(30)


def _exported(pid: int, connection: http.client.HTTPConnection, port: int) -> tuple[float, float]:
    count = _LOOKS // 3
    before, started = cpu_seconds([pid]), time.perf_counter()
    for _ in range(count):
        connection.request("GET", f"/probe?module=tls&target=127.0.0.1:{port}")
        answer = connection.getresponse().read()
        assert b"\nprobe_success 1" in answer
    took = time.perf_counter() - started
    return (cpu_seconds([pid]) - before) / count, count / took
