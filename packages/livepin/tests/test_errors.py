"""The family of errors: one base, readable, found whatever is wrapped around it."""

from __future__ import annotations

import copy
import pickle
import sys
import urllib.error

import livepin
import pytest
from livepin import errors
from livepin.errors import (
    FetchError,
    LivepinError,
    MalformedError,
    PinMismatchError,
    PinningError,
    RollbackError,
    TokenUnavailableError,
    UnlistedHostError,
    VerificationError,
    find,
)

MISMATCH = PinMismatchError(
    "no pinned key",
    host="api.example.com",
    chain=("sha256/a",),
    expected=("sha256/b", "sha256/c"),
    config_version=7,
    config_age=12.5,
    hint="ask the operator",
)
EVERY = [
    LivepinError("plain", hint="do this"),
    MalformedError("no pin"),
    VerificationError(4, "wrong type", hint="update"),
    RollbackError("older"),
    UnlistedHostError("not listed", host="api.example.com"),
    MISMATCH,
    FetchError("garbage", reached=True),
    TokenUnavailableError("none", host="api.example.com", state="no_network", hint="wait"),
]


def kinds() -> list[type[BaseException]]:
    return [each for each in vars(errors).values() if isinstance(each, type)]


@pytest.mark.parametrize("kind", [k for k in kinds() if issubclass(k, BaseException)])
def test_every_error_belongs_to_the_one_family(kind: type[BaseException]) -> None:
    assert issubclass(kind, LivepinError)
    assert kind.__doc__


def test_every_error_is_offered_by_the_package() -> None:
    for kind in kinds():
        if issubclass(kind, BaseException):
            assert getattr(livepin, kind.__name__) is kind


def test_only_refused_connections_are_pinning_errors() -> None:
    found = {k.__name__ for k in kinds() if issubclass(k, PinningError)}
    assert found == {
        "PinningError",
        "PinMismatchError",
        "UnlistedHostError",
        "StaleConfigError",
        "UnverifiedChainError",
        "CleartextError",
    }


def test_an_error_reads_as_its_message_and_keeps_the_hint() -> None:
    error = MalformedError("expected a pin", hint="sha256/BASE64")
    assert str(error) == "expected a pin"
    assert error.hint == "sha256/BASE64"
    assert MalformedError("x").hint is None


def test_a_refused_document_names_the_rule() -> None:
    error = VerificationError(3, "one signature is missing")
    assert (error.rule, error.reason) == (3, "one signature is missing")
    assert str(error) == "rule 3: one signature is missing"


def test_a_rollback_is_a_refusal_by_rule_7() -> None:
    error = RollbackError("older", hint="wait")
    assert isinstance(error, VerificationError)
    assert (error.rule, str(error), error.hint) == (7, "rule 7: older", "wait")


def test_a_mismatch_says_what_was_seen_and_what_was_expected() -> None:
    assert MISMATCH.host == "api.example.com"
    assert MISMATCH.chain == ("sha256/a",)
    assert MISMATCH.expected == ("sha256/b", "sha256/c")
    assert (MISMATCH.config_version, MISMATCH.config_age) == (7, 12.5)
    assert MISMATCH.hint == "ask the operator"


def test_a_request_without_its_token_says_why_and_what_to_do() -> None:
    error = EVERY[-1]
    assert isinstance(error, TokenUnavailableError)
    assert (str(error), error.host, error.state) == ("none; wait", "api.example.com", "no_network")
    assert str(TokenUnavailableError("none", host="a", state="no_service")) == "none"


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
@pytest.mark.parametrize("error", EVERY, ids=lambda e: type(e).__name__)
def test_an_error_survives_the_way_out_of_a_worker_process(error: LivepinError, again) -> None:
    found = again(error)
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def caused_by(cause: BaseException) -> BaseException:
    try:
        raise OSError("wrapped") from cause
    except OSError as exc:
        return exc


def raised_while(handled: BaseException) -> BaseException:
    try:
        try:
            raise handled
        except BaseException:
            raise ValueError("while handling it")  # noqa: B904 - the context is what is tested
    except ValueError as exc:
        return exc


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda e: e,
        caused_by,
        raised_while,
        lambda e: raised_while(caused_by(e)),
        urllib.error.URLError,
        lambda e: OSError("max retries", caused_by(e)),
        lambda e: OSError(["several", [("nested", e)]]),
    ],
    ids=["itself", "cause", "context", "both", "reason", "argument", "list"],
)
def test_the_error_is_found_whatever_is_wrapped_around_it(wrapped) -> None:
    assert find(wrapped(MISMATCH)) is MISMATCH


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups come with Python 3.11")
def test_the_error_is_found_inside_nested_exception_groups() -> None:
    group = eval("ExceptionGroup")
    assert find(group("all", [ValueError(), group("some", [caused_by(MISMATCH)])])) is MISMATCH


def test_nothing_is_found_where_nothing_is() -> None:
    assert find(None) is None
    assert find(ValueError("a", ["b", None])) is None
    assert find(urllib.error.URLError("no route")) is None


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert find(first) is None
    second.args = (second, MISMATCH)
    assert find(first) is MISMATCH


def test_the_outermost_error_wins() -> None:
    outer = UnlistedHostError("outer", host="a.example")
    outer.__cause__ = MISMATCH
    assert find(caused_by(outer)) is outer
