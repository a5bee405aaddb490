"""The language-neutral vectors: the library gives each answer that is written in them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from livepin import jsontext
from livepin.bootstrap import Bootstrap
from livepin.certificates import spki_fingerprint
from livepin.client.judge import ConfigJudge
from livepin.errors import (
    MalformedError,
    PinMismatchError,
    StaleConfigError,
    VerificationError,
)
from livepin.hostnames import candidates, normalise, parse_pattern, pattern_covers
from livepin.pins import Pin, PinSet, fingerprint_text, parse_fingerprint
from livepin.trust import STORE_FORMAT, TrustedState

CHECKOUT = Path(__file__).resolve().parents[3]
VECTORS = CHECKOUT / "vectors"
CASES = sorted(VECTORS.glob("rule-*/*.json")) + sorted(VECTORS.glob("bootstrap/*.json"))
KINDS = ("hostnames", "pins", "certificates")
TABLES = sorted(path for kind in KINDS for path in VECTORS.glob(f"{kind}/*.json"))


def vector(path: Path) -> Any:
    """Name a vector in the list of tests as its file is named."""
    return pytest.param(path, id=path.relative_to(VECTORS).with_suffix("").as_posix())


def read(path: Path) -> dict[str, Any]:
    """Return the content of a vector."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def moment(seconds: int) -> datetime:
    """Return a time that is written as seconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)


def expand(raw: str | list[Any]) -> bytes:
    """Return a document; large ones are written in pieces, some of them to be repeated."""
    pieces = [raw] if isinstance(raw, str) else raw
    return b"".join(
        piece.encode() if isinstance(piece, str) else piece["repeat"].encode() * piece["times"]
        for piece in pieces
    )


class App:
    """An app that goes through the steps of a case."""

    def __init__(self, installation: str) -> None:
        self.installation: str | None = installation
        self.bootstrap = ""
        self.state: TrustedState | None = None

    def play(self, step: dict[str, Any]) -> None:
        """Do one step, and compare what came of it with what was expected."""
        expect, now = step["expect"], moment(step.get("now", 0))
        found: dict[str, Any] = {"outcome": "accepted"}
        try:
            found |= getattr(self, step["do"])(step, now) or {}
        except VerificationError as exc:
            found = {"outcome": "refused", "rule": exc.rule}
        except MalformedError:
            found = {"outcome": "refused", "rule": None}
        assert found == {name: value for name, value in expect.items() if name != "state"}
        if "state" in expect:
            assert self.observed(now, expect["state"]["lookups"]) == expect["state"]

    def start(self, step: dict[str, Any], now: datetime) -> None:
        self.bootstrap = step["bootstrap"]
        self.state = TrustedState.from_bootstrap(Bootstrap.parse(self.bootstrap))

    def root(self, step: dict[str, Any], now: datetime) -> None:
        self.state = self.trusted.advance_root(expand(step["raw"]))

    def config(self, step: dict[str, Any], now: datetime) -> None:
        self.state = self.trusted.advance_config(expand(step["raw"]))

    def override(self, step: dict[str, Any], now: datetime) -> None:
        self.state = self.trusted.advance_override(
            expand(step["raw"]), thumbprint=self.installation or "", now=now
        )

    def roots_needed(self, step: dict[str, Any], now: datetime) -> dict[str, Any]:
        return {"roots": list(self.trusted.missing_roots(expand(step["raw"])))}

    def run(self, step: dict[str, Any], now: datetime) -> None:
        self.state = self.trusted.with_run_time(timedelta(seconds=step["seconds"]), now=now)

    def restart(self, step: dict[str, Any], now: datetime) -> None:
        data = self.trusted.dump()
        if "stored" in step:
            data = jsontext.dump({"format": STORE_FORMAT, **step["stored"]})
        self.bootstrap = step.get("bootstrap", self.bootstrap)
        self.installation = step.get("installation", self.installation)
        bootstrap = Bootstrap.parse(self.bootstrap)
        self.state = TrustedState.from_bootstrap(bootstrap)  # holds if the store is refused
        self.state = TrustedState.load(data, bootstrap, now=now, thumbprint=self.installation)

    def connect(self, step: dict[str, Any], now: datetime) -> dict[str, Any]:
        judge = ConfigJudge(lambda: self.trusted, clock=lambda: now, unlisted="system")
        chain = [parse_fingerprint(text) for text in step["chain"]]
        try:
            mismatch = judge.check(normalise(step["host"]), chain[0], lambda: chain)
        except (PinMismatchError, StaleConfigError) as exc:
            because = "stale" if isinstance(exc, StaleConfigError) else "mismatch"
            return {"outcome": "refused", "because": because}
        return {"reported": mismatch is not None}

    @property
    def trusted(self) -> TrustedState:
        """The state, which is there from the first start on."""
        assert self.state is not None
        return self.state

    def observed(self, now: datetime, hosts: dict[str, Any]) -> dict[str, Any]:
        """Return what the state says of itself."""
        state = self.trusted
        override = state.trusted_override
        return {
            "root": state.root.version,
            "root_version": state.config.root_version,
            "version": state.config.version,
            "stale": state.is_stale(now=now),
            "past_grace": state.is_past_grace(now=now),
            "clock_wrong": state.clock_is_wrong(now=now),
            "override": None if override is None else override.document.version,
            "refresh_interval": state.config.refresh_interval.total_seconds(),
            "lookups": {host: self.found(host, now) for host in hosts},
        }

    def found(self, host: str, now: datetime) -> dict[str, Any] | None:
        """Return what holds for a host."""
        domain = self.trusted.lookup(host)
        return domain and {
            "pattern": domain.pattern,
            "pin_set": domain.pin_set,
            "pins": list(domain.pins.texts(now=self.trusted.trusted_now(now=now))),
            "mode": domain.mode.value,
            "token": domain.token,
            "stale": domain.stale.value,
        }


@pytest.mark.parametrize("path", [vector(path) for path in CASES])
def test_each_step_of_a_case_ends_as_written(path: Path) -> None:
    case = read(path)
    app = App(case["installation"])
    for number, step in enumerate(case["steps"]):
        try:
            app.play(step)
        except AssertionError as exc:
            note = step.get("note", step["do"])
            raise AssertionError(f"{case['title']}: step {number} ({note}): {exc}") from exc


def normalise_row(table: dict[str, Any], row: dict[str, Any]) -> str:
    return normalise(row["host"])


def patterns_row(table: dict[str, Any], row: dict[str, Any]) -> str:
    return parse_pattern(row["pattern"])


def covers_row(table: dict[str, Any], row: dict[str, Any]) -> bool:
    return pattern_covers(row["pattern"], row["host"])


def lookup_row(table: dict[str, Any], row: dict[str, Any]) -> str | None:
    return next((p for p in candidates(normalise(row["host"])) if p in table["patterns"]), None)


def text_row(table: dict[str, Any], row: dict[str, Any]) -> str:
    return parse_fingerprint(row["text"]).hex()


def match_row(table: dict[str, Any], row: dict[str, Any]) -> int | None:
    pins = tuple(
        Pin(
            sha256=base64.b64decode(each["sha256"]) if "sha256" in each else None,
            not_before=moment(each["not_before"]) if "not_before" in each else None,
            not_after=moment(each["not_after"]) if "not_after" in each else None,
        )
        for each in row["pins"]
    )
    chain = [parse_fingerprint(text) for text in row["chain"]]
    found = PinSet(pins).match(chain, now=moment(row["now"]))
    return None if found is None else pins.index(found)


def certificate_row(table: dict[str, Any], row: dict[str, Any]) -> str:
    return fingerprint_text(spki_fingerprint(base64.b64decode(row["der"])))


ANSWERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "hostnames/normalise": normalise_row,
    "hostnames/patterns": patterns_row,
    "hostnames/covers": covers_row,
    "hostnames/lookup": lookup_row,
    "pins/text": text_row,
    "pins/match": match_row,
    "certificates/ordinary": certificate_row,
    "certificates/rare": certificate_row,
    "certificates/refused": certificate_row,
}


@pytest.mark.parametrize("path", [vector(path) for path in TABLES])
def test_each_row_of_a_table_has_the_answer_that_is_written(path: Path) -> None:
    table = read(path)
    answer = ANSWERS[path.relative_to(VECTORS).with_suffix("").as_posix()]
    for row in table["rows"]:
        try:
            found = answer(table, row)
        except MalformedError:
            found = None
        assert found == row["expected"], row


def steps(rule: int) -> Iterator[dict[str, Any]]:
    """Give every step of every case of a rule."""
    for path in VECTORS.glob(f"rule-{rule:02}/*.json"):
        case = read(path)
        assert case["rule"] == rule, path
        yield from case["steps"]


@pytest.mark.parametrize("rule", range(1, 11))
def test_each_rule_has_something_to_accept_and_something_to_refuse(rule: int) -> None:
    done = [step for step in steps(rule) if step["do"] not in ("start", "roots_needed")]
    assert any(step["expect"]["outcome"] == "accepted" for step in done)
    # By its time no document is refused: what rule 8 refuses are connections.
    mine = {"because": "stale"} if rule == 8 else {"rule": rule}
    assert any(step["expect"].items() >= {"outcome": "refused", **mine}.items() for step in done)


def test_the_vectors_are_what_their_source_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "vectors", tmp_path], cwd=CHECKOUT, check=True)
    written = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.json")}
    found = {path.relative_to(VECTORS).as_posix(): path.read_bytes() for path in [*CASES, *TABLES]}
    assert found.keys() == written.keys(), "write them again with: python -m vectors"
    stale = sorted(name for name, data in written.items() if found[name] != data)
    assert not stale, "write them again with: python -m vectors"
