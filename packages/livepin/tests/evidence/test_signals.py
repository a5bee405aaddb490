"""Findings gathered: what lasts, what is news, and how much is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from livepin import jsontext
from livepin.documents.token_request import MAX_SIZE
from livepin.evidence import environment, memory, signals
from livepin.evidence.finding import SIGNALS, Finding, UnavailableError
from livepin.evidence.signals import MOST, Signals


class Scripted(Signals):
    """Signals that find what a test says."""

    def __init__(self) -> None:
        self.script: list[Finding] = []
        self.fails: Exception | None = None
        super().__init__()

    def _checks(self, *, thorough: bool) -> Iterator[tuple[tuple[signals.Signal, ...], object]]:  # type: ignore[override]
        def check() -> Iterator[Finding]:
            yield from self.script
            if self.fails is not None:
                raise self.fails

        yield ("injected_code", "debugger"), check


AGENT, PROXY = Finding("injected_code", "memfd:agent"), Finding("proxy", "HTTPS_PROXY")


@pytest.fixture
def found() -> Scripted:
    return Scripted()


def test_an_agent_stays_reported_when_it_has_gone_and_a_proxy_does_not(found: Scripted) -> None:
    found.script = [PROXY, AGENT]
    found.look()
    assert found.texts() == ("injected_code: memfd:agent", "proxy: HTTPS_PROXY")
    found.script = []
    found.look()
    assert found.texts() == ("injected_code: memfd:agent",)


def test_only_what_is_found_after_the_first_evidence_is_news(found: Scripted) -> None:
    found.script = [AGENT]
    assert not found.look()  # nobody was told anything
    found.evidence()
    assert not found.look()
    found.script = [AGENT, PROXY]
    assert found.look()
    assert not found.look()
    assert [each["signal"] for each in found.evidence()["found"]] == ["injected_code", "proxy"]
    assert not found.look()


def test_how_much_there_is_of_something_is_no_news(found: Scripted) -> None:
    found.script = [Finding("anonymous_code", "1 mappings")]
    found.look()
    found.evidence()
    found.script = [Finding("anonymous_code", "2 mappings")]
    assert not found.look()
    assert found.evidence()["found"] == [{"signal": "anonymous_code", "detail": "2 mappings"}]


def test_a_flood_of_findings_is_bounded_and_ends_to_be_news(found: Scripted) -> None:
    found.evidence()
    news = 0
    for number in range(50):
        found.script = [Finding(each, f"{number} " + "x" * 190) for each in SIGNALS]
        news += found.look()
        evidence = found.evidence()
    assert news <= 4
    assert len(evidence["found"]) <= MOST
    assert len(jsontext.dump(evidence)) < MAX_SIZE / 6
    told = [each["signal"] for each in evidence["found"]]
    assert told == sorted(told, key=SIGNALS.index)


@pytest.mark.parametrize("error", [UnavailableError("no /proc"), RuntimeError("changed meanwhile")])
def test_what_cannot_be_checked_is_named_and_what_was_found_before_counts(
    found: Scripted, error: Exception
) -> None:
    found.script, found.fails = [AGENT], error
    found.look()
    evidence = found.evidence()
    assert evidence["unchecked"] == ["injected_code", "debugger"]
    assert set(evidence["checked"]) | set(evidence["unchecked"]) == set(SIGNALS)
    assert evidence["found"] == [{"signal": "injected_code", "detail": "memfd:agent"}]
    found.fails = None
    found.look()
    assert found.evidence()["unchecked"] == []


def test_a_system_without_proc_checks_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MAPS", "/nowhere")
    monkeypatch.setattr(environment, "_PRELOAD_FILE", "/nowhere")
    found = Signals()
    assert {"injected_code", "changed_code", "anonymous_code"} <= set(found.evidence()["unchecked"])
    assert "replaced_sdk_function" in found.evidence()["checked"]


def test_a_thorough_look_asks_the_client_for_its_data() -> None:
    found = Signals(lambda: ["data of the config"])
    assert not any("data" in each for each in found.texts())
    found.look(thorough=True)
    assert "replaced_sdk_function: data of the config" in found.texts()


def test_evidence_is_json_of_the_format() -> None:
    found = Signals().evidence()
    assert (found["format"], found["sdk"]) == ("signals", "livepin-python")
    assert json.loads(json.dumps(found)) == found
    if sys.platform == "linux":
        assert found["unchecked"] == []
