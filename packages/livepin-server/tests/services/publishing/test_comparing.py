"""Two versions of a stream, side by side, from either database."""

from __future__ import annotations

import pytest
from livepin_server.errors import NotFoundError
from livepin_server.services.model import DomainSettings, NewDomain
from livepin_server.services.publishing.comparing import compare

API = "api.example.com"


@pytest.fixture
def compared(services):
    """Compare two versions of `acme`."""

    def one(old, new, stream="main"):
        return compare(services.published, services.database, "acme", stream, old, new)

    return one


def test_two_versions_differ_by_all_that_lies_between(
    services, add_domain, compared, new_pin, pin_text, intent
) -> None:
    add_domain(API, 1)
    services.domains.add_pins("acme", API, [new_pin(2)], "main", intent)
    services.domains.remove_pin("acme", API, pin_text(1), "main", intent)
    found = compared(2, None)
    assert (found.old.version, found.new.version) == (2, 4)
    assert (found.new.author, found.new.reason) == ("alice", "rotation")
    assert found.changed == [f"- pin {API} {pin_text(1)}", f"+ pin {API} {pin_text(2)}"]
    assert found.touched == [API]
    assert found.before == {"pin_sets": {API: [{"sha256": pin_text(1).removeprefix("sha256/")}]}}
    assert found.after == {"pin_sets": {API: [{"sha256": pin_text(2).removeprefix("sha256/")}]}}
    # The other way round it is what a restored version would change.
    assert compared(4, 2).changed == [f"- pin {API} {pin_text(2)}", f"+ pin {API} {pin_text(1)}"]
    assert compared(1, 2).changed[0] == f"+ domain {API} (enforce)"
    assert compared(None, None).changed == []


def test_the_history_and_the_difference_use_the_same_words(
    services, add_domain, add_set, compared, new_pin, pin_text, intent
) -> None:
    domains = services.domains
    add_domain(API, 1, 2)
    domains.change("acme", API, DomainSettings(mode="off", token=True), "main", intent)
    domains.change("acme", API, DomainSettings(stale="refuse"), "main", intent)
    domains.add_pins("acme", API, [new_pin(3)], "main", intent)
    domains.remove_pin("acme", API, pin_text(2), "main", intent)
    domains.remove("acme", API, "main", intent)
    last = services.published.version("acme", "main")[0].version
    for publication in services.published.history("acme", "main"):
        if publication.version > 1:
            assert compared(publication.version - 1, publication.version).changed == (
                publication.changed
            )
    assert last == 7
    # Of a set, the history has labels, and says it where a config has it only once it is followed.
    add_set("payments", 4)
    domains.add("acme", NewDomain(pattern=API, pin_set="payments"), intent)
    assert compared(8, 9).changed == [
        f"+ domain {API} (enforce), pin set payments",
        "+ pin set payments",
        f"+ pin set payments {pin_text(4)}",
    ]


def test_a_version_of_another_stream_is_refused_in_words(make_stream, compared) -> None:
    make_stream("canary")
    for pair in ((1, 2), (2, 1)):
        with pytest.raises(NotFoundError) as caught:
            compared(*pair)
        assert str(caught.value) == (
            "config version 2 of acme is one of the stream canary, not of main"
        )
        assert caught.value.hint == "versions of one stream are compared: --stream canary"
    with pytest.raises(NotFoundError, match="version 1 of acme is one of the stream main"):
        compared(1, None, "canary")


@pytest.mark.parametrize("number", [0, 99, 10**15])
def test_a_version_that_there_is_not_is_refused(compared, number) -> None:
    with pytest.raises(NotFoundError, match=f"there is no config version {number} in acme/main"):
        compared(1, number)


def test_an_account_or_stream_that_there_is_not_is_refused(services, compared) -> None:
    with pytest.raises(NotFoundError, match="there is no stream 'mian'"):
        compared(1, 1, "mian")
    with pytest.raises(NotFoundError, match="there is no account 'acne'"):
        compare(services.published, services.database, "acne", "main", 1, None)
