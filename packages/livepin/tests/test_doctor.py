"""livepin doctor: real endpoints, with and without a bootstrap; each exit code."""

from __future__ import annotations

import datetime as dt
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cryptography
import pytest
from livepin import doctor
from livepin.documents import Mode, Stale
from livepin.pins import Pin, fingerprint_text
from livepin.testing import (
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
    pin_of,
)

AUTHORITY = make_authority("Corp CA")
CHAIN = make_chain("localhost", "127.0.0.1", authority=AUTHORITY, intermediate=True)
OTHER = Pin(b"\x01" * 32)
NOW = dt.datetime.now(dt.timezone.utc)


def text(pin: Pin) -> str:
    assert pin.sha256 is not None
    return fingerprint_text(pin.sha256)


@pytest.fixture
def endpoint() -> Iterator[RecordingServer]:
    """A real TLS endpoint with a chain of three."""
    with RecordingServer(CHAIN) as server:
        yield server


@pytest.fixture
def ca(tmp_path: Path) -> str:
    """The file of the private CA."""
    found = tmp_path / "ca.pem"
    found.write_text(AUTHORITY.pem)
    return str(found)


@pytest.fixture
def bootstrap(tmp_path: Path) -> Callable[..., str]:
    """Write a bootstrap that pins localhost, made some days ago."""

    def one(*pins: Pin, host: str = "localhost", days: int = 0, **settings: object) -> str:
        simulator = DeliverySimulator(clock=lambda: NOW - dt.timedelta(days=days))
        simulator.pin(host, *pins, **settings)
        found = tmp_path / "bootstrap.json"
        found.write_bytes(simulator.bootstrap().to_json())
        return str(found)

    return one


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the doctor; return exit code and output."""

    def one(*arguments: object) -> tuple[int, str, str]:
        code = doctor.main([str(each) for each in arguments])
        found = capsys.readouterr()
        return code, found.out, found.err

    return one


def test_the_verified_chain_is_shown_with_its_fingerprints(run, endpoint, ca) -> None:
    code, out, err = run(f"https://localhost:{endpoint.port}/path?x=1", "--ca", ca)
    assert (code, err) == (0, "")
    assert CHAIN.intermediate is not None
    expected = [CHAIN.pin, pin_of(CHAIN.intermediate.certificate), AUTHORITY.pin]
    assert [line.strip() for line in out.splitlines() if "sha256/" in line] == [
        text(each) for each in expected
    ]
    assert [line.split()[0] for line in out.splitlines()[::3]] == ["leaf", "intermediate", "root"]
    assert endpoint.requests == 0


@pytest.mark.parametrize("pin", [CHAIN.pin, AUTHORITY.pin], ids=["leaf", "root"])
def test_a_bootstrap_whose_pin_matches_is_well(run, endpoint, ca, bootstrap, pin) -> None:
    file = bootstrap(OTHER, pin, days=2)
    code, out, err = run(f"localhost:{endpoint.port}", "--ca", ca, "--bootstrap", file)
    assert (code, err) == (0, "")
    assert f"{text(pin)} matches" in out
    assert f"{text(OTHER)} pinned" in out
    assert "2 days old" in out
    assert "problem" not in out


def follow_a_shared_set(tmp_path: Path, *pins: Pin) -> Path:
    """Write a bootstrap whose domain follows the pin set `trust-roots`."""
    simulator = DeliverySimulator(clock=lambda: NOW)
    simulator.pin("localhost", *pins)
    shared = simulator.pin_sets.pop("localhost")
    simulator.pin_sets["trust-roots"] = shared
    simulator.domains["localhost"] = replace(simulator.domains["localhost"], pin_set="trust-roots")
    simulator.publish()
    found = tmp_path / "bootstrap.json"
    found.write_bytes(simulator.bootstrap().to_json())
    return found


@pytest.mark.parametrize("more", [0, 9, 10])
@pytest.mark.parametrize("matches", [True, False])
def test_a_shared_pin_set_is_named_and_a_long_one_counted(
    run, endpoint, ca, tmp_path, more, matches
) -> None:
    pins = [AUTHORITY.pin if matches else OTHER, *(Pin(bytes([n + 2]) * 32) for n in range(more))]
    file = follow_a_shared_set(tmp_path, *pins)
    arguments = (f"localhost:{endpoint.port}", "--ca", ca, "--bootstrap", file)
    code, out, _ = run(*arguments)
    assert code == (0 if matches else 1)
    lines = [line.rstrip() for line in out.splitlines() if not line.startswith("problem")]
    at = lines.index("domain        localhost, enforce, pin set trust-roots")
    shown = [line.split() for line in lines[at + 1 :]]
    match = [[text(AUTHORITY.pin), "matches"]] if matches else []
    if more < 10:
        others = pins[1:] if matches else pins
        assert shown == match + [[text(each), "pinned"] for each in others]
    else:
        assert shown == [*match, ["10", "other", "pins"] if matches else ["11", "pins"]]
    assert json.loads(run(*arguments, "--json")[1])["domain"]["pin_set"] == "trust-roots"


# The pins and settings of the domain, the days since its config; what is wrong.
PROBLEMS = {
    "no pin matches": ((OTHER,), {}, 0, "no pin of localhost matches: an app is refused"),
    "report": (
        (OTHER,),
        {"mode": Mode.REPORT},
        0,
        "no pin of localhost matches: an app connects, and reports it",
    ),
    "ended": (
        (Pin(CHAIN.pin.sha256, None, NOW - dt.timedelta(hours=1)),),
        {},
        0,
        "no pin of localhost matches: an app is refused",
    ),
    "stale": (
        (CHAIN.pin,),
        {},
        20,
        "the config has expired: an app that gets no newer one is stale",
    ),
    "refused": (
        (CHAIN.pin,),
        {"stale": Stale.REFUSE},
        60,
        "localhost is refused while the config is stale",
    ),
    "future": (
        (CHAIN.pin,),
        {},
        -2,
        "the config was issued later than this clock says: the clock is wrong",
    ),
    "unlisted": (
        (CHAIN.pin,),
        {"host": "api.example.com"},
        0,
        "no domain of the config covers localhost: it is not pinned",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong_is_said_and_the_exit_code_is_1(run, endpoint, ca, bootstrap, case) -> None:
    pins, settings, days, problem = PROBLEMS[case]
    file = bootstrap(*pins, days=days, **settings)
    code, out, err = run(f"localhost:{endpoint.port}", "--ca", ca, "--bootstrap", file)
    assert (code, err) == (1, "")
    assert f"problem: {problem}\n" in out


def test_a_domain_that_is_off_is_no_problem(run, endpoint, ca, bootstrap) -> None:
    file = bootstrap(OTHER, mode=Mode.OFF)
    assert run(f"localhost:{endpoint.port}", "--ca", ca, "--bootstrap", file)[0] == 0


def test_json_says_the_same(run, endpoint, ca, bootstrap) -> None:
    file = bootstrap(CHAIN.pin)
    code, out, _ = run(f"localhost:{endpoint.port}", "--ca", ca, "--bootstrap", file, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["chain"][0]["sha256"] == found["domain"]["matched"] == text(CHAIN.pin)
    assert found["config"]["stale"] is False
    assert found["problems"] == []


def test_another_address_is_looked_at_still_as_the_host(run, ca, bootstrap) -> None:
    chain = make_chain("api.example.com", authority=AUTHORITY)
    file = bootstrap(chain.pin, host="api.example.com")
    with RecordingServer(chain) as server:
        where = f"127.0.0.1:{server.port}"
        options = ("--ca", ca, "--bootstrap", file, "--connect", where)
        assert run("https://api.example.com", *options)[0] == 0
        code, _, err = run("https://other.example.com", *options)
    assert code == 4
    assert err.startswith(f"error: the certificate of {where} is not valid for other.example.com:")


def test_a_chain_of_a_stranger_is_not_judged(run, endpoint, bootstrap) -> None:
    code, out, err = run(f"localhost:{endpoint.port}", "--bootstrap", bootstrap(CHAIN.pin))
    assert (code, out) == (4, "")
    assert err.endswith("hint:  if a private CA issued it: --ca FILE\n")


@pytest.fixture
def nobody() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_an_endpoint_that_cannot_be_reached_is_exit_code_4(run, nobody) -> None:
    code, out, err = run(f"localhost:{nobody}")
    assert (code, out) == (4, "")
    assert err.startswith(f"error: localhost:{nobody}: ")
    code, _, err = run("nowhere.invalid")
    assert code == 4
    assert err.splitlines()[0] == "error: nowhere.invalid does not resolve to an address"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("http://a.test",), "expected an https URL or a host, found 'http://a.test'"),
        (("https://u:p@a.test",), "expected an https URL or a host, found 'https://u:p@a.test'"),
        (("a b",), "expected an https URL or a host, found 'a b'"),
        (("a.test:99999",), "expected an https URL or a host, found 'a.test:99999'"),
        (("a.test", "--connect", "b.test"), "expected HOST:PORT, found 'b.test'"),
        (("a.test", "--connect", "https://b"), "expected HOST:PORT, found 'https://b'"),
        (("a.test", "--bootstrap", "nowhere"), "cannot read nowhere: No such file or directory"),
        (("a.test", "--bootstrap", __file__), f"{__file__}: expected a Livepin bootstrap"),
        (("a.test", "--ca", "nowhere"), "cannot read the CA file nowhere: No such file"),
        (("a.test", "--ca", __file__), f"cannot read the CA file {__file__}: no PEM certificates"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, arguments, error) -> None:
    code, out, err = run(*arguments)
    said, hint = err.splitlines()
    assert (code, out) == (2, "")
    assert said.startswith(f"error: {error}")
    assert hint.startswith("hint:  ")


def test_an_address_without_a_way_to_it_is_said_in_words(run) -> None:
    code, out, err = run("255.255.255.255:9")
    assert (code, out) == (4, "")
    assert err.startswith("error: 255.255.255.255:9: ")
    assert "Errno" not in err


def test_a_forged_bootstrap_is_not_used(run, tmp_path) -> None:
    one, other = DeliverySimulator(), DeliverySimulator()
    mixed = type(one.bootstrap())(root=one.bootstrap().root, config=other.config)
    file = tmp_path / "mixed.json"
    file.write_bytes(mixed.to_json())
    code, out, err = run("localhost:1", "--bootstrap", file)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}: ")


def test_what_a_hostile_certificate_says_cannot_rewrite_the_terminal(run, ca) -> None:
    chain: Chain = make_chain("\x1b[2Jowned", "localhost", authority=AUTHORITY)
    with RecordingServer(chain) as server:
        code, out, _ = run(f"localhost:{server.port}", "--ca", ca)
    assert code == 0
    assert "\x1b" not in out
    assert "\\x1b[2Jowned" in out


def test_help_and_wrong_options_have_their_exit_codes(run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "Exit codes: 0 all is well" in " ".join(out.split())
    assert run()[0] == 2


def test_the_script_runs_it_where_only_the_library_is(endpoint, ca, tmp_path) -> None:
    installed, alone = Path(cryptography.__file__).parent.parent, tmp_path / "alone"
    alone.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend*.so", "typing_extensions.py"):
        for each in installed.glob(name):
            (alone / each.name).symlink_to(each)
    code = "import sys; sys.path[:0] = {}; from livepin.__main__ import main; sys.exit(main())"
    folders = [str(Path(doctor.__file__).parent.parent), str(alone)]
    arguments = ["doctor", f"localhost:{endpoint.port}", "--ca", ca]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code.format(folders), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert text(CHAIN.pin) in done.stdout
