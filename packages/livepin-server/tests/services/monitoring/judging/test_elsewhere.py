"""One vantage sees another key than the others do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from minted_sights import (
    API,
    DAY,
    NOW,
    V6,
    chain,
    elsewhere,
    following,
    found,
    held,
    refused,
    sight,
    silent,
    text,
)

MINUTE = timedelta(minutes=1)
FOREIGN = sight(chain("box", "box-ca"), since=NOW - 10 * MINUTE)
FAKE = refused(chain("box", "box-ca")[:1], "self-signed certificate", since=NOW - 10 * MINUTE)
OLD = sight(chain("leaf"), since=NOW - 60 * DAY, moment=NOW - DAY)  # written a day ago
GOOD = elsewhere(OLD, looked=NOW - MINUTE)
BEFORE = elsewhere(OLD, looked=NOW - 11 * MINUTE)


@pytest.mark.parametrize("seen", [FOREIGN, FAKE])
def test_a_key_that_only_one_vantage_sees_is_suspicious(seen) -> None:
    others = {"us-east": GOOD, "eu-west": GOOD}
    (finding,) = found(seen, following("leaf"), others=others)
    assert (finding.kind, finding.code) == ("interception_suspected", "vantages-disagree")
    assert finding.severity == "critical"
    assert finding.sentence == (
        f"from here, {API} serves {text('box')} that is not pinned, while from eu-west and "
        f"us-east it serves {text('leaf')}, which is: either a new certificate has not come "
        "everywhere, or somebody sits between"
    )
    assert (finding.fingerprints, finding.cause) == ([text("box")], "interception:here")
    assert finding.command == f"livepin monitor run {API}"


def kind(*arguments, **members):
    """The kind of the only finding."""
    (finding,) = found(*arguments, **members)
    return finding.kind


def test_a_look_from_before_the_key_appeared_proves_nothing() -> None:
    """A certificate was changed everywhere, and the other vantage has not looked since."""
    assert kind(FOREIGN, following("leaf"), others={"eu-west": BEFORE}) == "pin_mismatch"


@pytest.mark.parametrize("seen", [held(FOREIGN), held(FOREIGN, sight(chain("leaf"), V6))])
def test_no_key_is_to_be_pinned_before_others_have_looked(seen) -> None:
    others = {
        "eu-west": BEFORE,
        "gone": elsewhere(looked=None, alive=False),
        "us-east": elsewhere(FOREIGN),
    }
    (finding,) = found(seen, following("leaf"), others=others)
    assert finding.awaits == ["eu-west"]
    assert finding.command == f"livepin domain check {API}"
    assert "; from eu-west nobody has looked since, so somebody may sit between" in finding.sentence
    (finding,) = found(seen, following("leaf"), others=others | {"eu-west": elsewhere(FOREIGN)})
    assert (finding.awaits, finding.command) == ([], f"livepin pin add {API} {text('box')}")
    assert "nobody has looked" not in finding.sentence


def test_a_vantage_that_never_looked_is_waited_for() -> None:
    (finding,) = found(FAKE, following("leaf"), others={"eu-west": elsewhere(looked=None)})
    assert (finding.kind, finding.awaits) == ("untrusted", ["eu-west"])


@pytest.mark.parametrize(
    "other",
    [
        elsewhere(sight(chain("box", "box-ca"))),
        elsewhere(sight(chain("third"))),
        elsewhere(sight(chain("leaf")), sight(chain("third"), V6)),
        elsewhere(silent("timeout")),
        elsewhere(FAKE),
        elsewhere(),
    ],
)
def test_vantages_that_do_not_see_pinned_keys_alone_prove_nothing(other) -> None:
    assert kind(FOREIGN, following("leaf"), others={"eu-west": other}) == "pin_mismatch"


def test_a_key_that_another_vantage_sees_too_is_a_roll_out() -> None:
    others = {"eu-west": GOOD, "us-east": elsewhere(sight(chain("box", "box-ca")))}
    assert kind(FOREIGN, following("leaf"), others=others) == "pin_mismatch"


def test_where_some_addresses_are_right_it_is_partial() -> None:
    seen = held(FOREIGN, sight(chain("leaf"), V6))
    (finding,) = found(seen, following("leaf"), others={"eu-west": GOOD})
    assert (finding.kind, finding.command) == ("partial", f"livepin domain check {API}")
    assert "; from eu-west only pinned keys are seen, so somebody may sit" in finding.sentence


def test_silence_is_no_interception() -> None:
    assert kind(silent("timeout"), following("leaf"), others={"eu-west": GOOD}) == "unreachable"


def test_the_right_key_that_does_not_verify_here_is_a_matter_of_trust() -> None:
    """The trust store of the vantage is old: what is served is the key that others see."""
    seen = refused(chain("leaf")[:1], "unable to get local issuer certificate")
    assert kind(seen, following("leaf"), others={"eu-west": GOOD}) == "untrusted"


def test_a_chain_that_could_not_be_read_is_suspicious_too() -> None:
    seen = sight(failure="untrusted", since=NOW - 10 * MINUTE)
    (finding,) = found(seen, following("leaf"), others={"eu-west": GOOD})
    assert finding.kind == "interception_suspected"
    assert f"{API} serves a key that is not pinned" in finding.sentence


@pytest.mark.parametrize("mode", ["report", "off"])
def test_it_is_as_grave_where_nothing_is_enforced(mode) -> None:
    (finding,) = found(FOREIGN, following("leaf", mode=mode), others={"eu-west": GOOD})
    assert (finding.kind, finding.severity) == ("interception_suspected", "critical")
