"""Apps get in, and may soon not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin.pins import PinSet
from livepin_server.services.monitoring.model import MonitorSettings
from minted_sights import (
    API,
    DAY,
    NOW,
    V6,
    certificate,
    chain,
    following,
    found,
    held,
    pin,
    sight,
    text,
    view,
)


def codes(*arguments, **members):
    """The findings, by code."""
    return {each.code: each for each in found(*arguments, **members)}


def issued(*arguments, **members):
    """A domain that pins its issuer, so that certificates come and go."""
    return following("ca", *arguments, level="intermediate", **members)


# -- certificates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "severity"), [(22, None), (20.9, "warning"), (3.1, "warning"), (3, "critical")]
)
def test_a_certificate_that_expires_within_its_lead_time_is_told_of(left, severity) -> None:
    finding = codes(sight(chain("leaf", age=68, left=left)), issued()).get("expires")
    assert (finding and finding.severity) == severity


def test_an_expiring_certificate_shuts_out_everybody_in_every_mode() -> None:
    for mode in ("enforce", "report", "off"):
        seen = sight(chain("leaf", age=88, left=2))
        finding = codes(seen, issued(mode=mode))["expires"]
        assert finding.severity == "critical"
        assert finding.sentence == (
            f"the certificate of {API} expires at 2026-11-25 12:00 UTC, in 2 days: apps that "
            "follow main are refused from then on; renew it"
        )
        assert finding.command == f"livepin domain check {API}"
        assert finding.key == f"at_risk:expires:main:{API}"


@pytest.mark.parametrize(
    ("left", "words"),
    [(0.02, "within the hour"), (0.05, "in 1 hour"), (0.5, "in 12 hours"), (1.99, "in 47 hours")],
)
def test_the_last_hours_are_said_in_hours(left, words) -> None:
    finding = codes(sight(chain("leaf", age=88, left=left)), issued())["expires"]
    assert f", {words}:" in finding.sentence


def test_a_certificate_that_expired_since_it_was_verified_is_said_to_have() -> None:
    finding = codes(sight(chain("leaf", age=88, left=-0.5)), issued())["expires"]
    assert finding.severity == "critical"
    assert "expired at 2026-11-23 00:00 UTC:" in finding.sentence


def test_short_lived_certificates_are_late_when_a_quarter_is_left() -> None:
    """A certificate of six days would else be told of all its life."""
    assert "expires" not in codes(sight(chain("leaf", age=3, left=3)), issued())
    assert codes(sight(chain("leaf", age=5, left=1)), issued())["expires"].severity == "warning"
    assert codes(sight(chain("leaf", age=5.5, left=0.5)), issued())["expires"].severity == (
        "critical"
    )


def test_the_lead_time_is_a_setting() -> None:
    seen = sight(chain("leaf", age=200, left=100))
    assert "expires" not in codes(seen, issued())
    long = issued(settings=MonitorSettings(lead=100, tags=["ops"]))
    finding = codes(sight(chain("leaf", age=300, left=99)), long)["expires"]
    assert finding.tags == ["ops"]


def test_the_certificate_of_an_issuer_expires_too() -> None:
    seen = [
        certificate("leaf"), certificate("ca", age=1000, left=2), certificate("root", left=900)
    ]  # fmt: skip
    finding = codes(sight(seen), issued())["expires"]
    assert f"the certificate of an issuer in the chain of {API} expires" in finding.sentence
    assert finding.cause.startswith("expiry:above:")


def test_the_anchor_is_for_trust_stores_to_judge() -> None:
    seen = [certificate("leaf"), certificate("root", age=3000, left=1)]
    assert found(sight(seen), following("root", level="root")) == []


def test_the_first_one_to_expire_is_told_of() -> None:
    seen = held(
        sight(chain("leaf", age=80, left=10)),
        sight(chain("rsa", age=85, left=5), algorithm="rsa"),
        sight(chain("leaf", age=80, left=10), V6),
    )
    finding = codes(seen, issued())["expires"]
    assert "2026-11-28" in finding.sentence
    assert finding.fingerprints == [text("leaf"), text("rsa")]


# -- renewal ---------------------------------------------------------------------------------------


def alone(*pins, **members):
    """A domain that pins its leaf, without another key that is never served."""
    return following("leaf", *pins, backups=members.pop("backups", ()), **members)


@pytest.mark.parametrize(
    ("left", "severity"),
    # Of 90 days, 30 are left when it is renewed: 21 days before is the lead.
    [(52, None), (50, "warning"), (34, "warning"), (33, "critical"), (10, "critical")],
)
def test_a_renewal_that_would_take_an_unpinned_key_is_told_of(left, severity) -> None:
    seen = sight(chain("leaf", age=90 - left, left=left))
    finding = codes(seen, alone()).get("renewal-due")
    assert (finding and finding.severity) == severity
    if finding is not None:
        assert "the next key is not pinned" in finding.sentence
        assert "as cert-manager does each time" in finding.sentence
        assert finding.command == f"livepin pin new-backup {API} --out {API}-backup.key"


DUE = chain("leaf", age=50, left=40)


@pytest.mark.parametrize(
    ("by", "served", "due"),
    [
        (alone("next"), {}, False),
        (alone(backups=["spare"]), {}, False),
        (alone("old"), {text("old"): NOW - 60 * DAY}, True),
        (alone("elsewhere"), {text("elsewhere"): NOW - DAY}, False),
        (alone(pin("ended", None, NOW - DAY)), {}, True),
        (alone(pin("later", NOW + DAY, None)), {}, False),
        (alone("ca"), {}, False),  # the issuer of the next one is the same
        (alone(mode="report"), {}, True),
        (alone(mode="off"), {}, False),
    ],
)
def test_a_pin_that_waits_for_its_key_is_the_next_one(by, served, due) -> None:
    assert ("renewal-due" in codes(sight(DUE), by, served=served)) is due


def test_where_it_is_only_reported_a_renewal_wakes_nobody() -> None:
    seen = sight(chain("leaf", age=80, left=10))
    assert codes(seen, alone(mode="report"))["renewal-due"].severity == "warning"


# -- pins that are left ----------------------------------------------------------------------------


def test_one_pin_left_is_told_of() -> None:
    finding = codes(sight(chain("leaf")), following("leaf", backups=()))["one-pin-left"]
    assert finding.severity == "warning"
    assert finding.sentence == (
        f"one pin of {API} is left that counts, {text('leaf')}: if its key is lost, apps that "
        "follow main are refused until they get another config"
    )
    assert finding.command == f"livepin pin new-backup {API} --out {API}-backup.key"


def test_a_pin_that_begins_later_is_not_counted_and_is_said() -> None:
    by = following("leaf", pin("next", NOW + DAY), backups=[pin("gone", None, NOW - DAY)])
    finding = codes(sight(chain("leaf")), by)["one-pin-left"]
    assert finding.severity == "info"
    assert finding.sentence.endswith("the next one counts from 2026-11-24 12:00 UTC on")


def test_only_the_backup_matches_and_no_further_one_is_there() -> None:
    by = following("old", backups=["leaf"])
    finding = codes(sight(chain("leaf")), by)["only-backup"]
    assert finding.severity == "warning"
    assert f"only the backup pin of {API} matches, {text('leaf')}" in finding.sentence
    assert codes(sight(chain("leaf")), following("old", backups=["leaf", "more"])) == {}


def test_a_backup_beside_another_match_is_not_the_only_one() -> None:
    assert "only-backup" not in codes(sight(chain("leaf")), following("ca", backups=["leaf"]))


def test_pins_without_a_backup_are_told_of() -> None:
    found = codes(sight(chain("leaf")), following("leaf", "other", backups=()))
    assert found["no-backup"].severity == "info"
    ended = following("leaf", "other", backups=[pin("spare", None, NOW)])
    assert "no-backup" in codes(sight(chain("leaf")), ended)


def test_managed_roots_are_backups_of_each_other() -> None:
    by = following("root", "other", backups=(), level="root")
    assert codes(sight(chain("leaf")), by) == {}


def test_a_wildcard_has_a_file_that_a_shell_takes() -> None:
    by = following("leaf", backups=(), pattern="*.example.com", stream="canary")
    finding = codes(sight(chain("leaf")), by)["one-pin-left"]
    assert finding.command == (
        "livepin pin new-backup '*.example.com' --out example.com-backup.key --stream canary"
    )


# -- pins that end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "severity"), [(22, None), (21, "warning"), (4, "warning"), (3, "critical")]
)
def test_the_end_of_the_pin_in_use_is_told_of(days, severity) -> None:
    by = following(pin("leaf", None, NOW + days * DAY))
    finding = codes(sight(chain("leaf")), by).get("pin-ends")
    assert (finding and finding.severity) == severity
    if finding is not None:
        assert finding.sentence.endswith("change the certificate before then")
        assert finding.command == f"livepin domain check {API}"


def test_the_end_of_every_pin_needs_another_key() -> None:
    soon = NOW + 2 * DAY
    by = following(pin("leaf", None, soon), backups=[pin("spare", None, soon)])
    finding = codes(sight(chain("leaf")), by)["pin-ends"]
    assert finding.sentence.endswith("pin the next key in time")
    assert "new-backup" in finding.command


def test_a_pin_that_ends_beside_one_that_does_not_is_all_right() -> None:
    soon = NOW + DAY
    assert codes(sight(chain("leaf")), following(pin("leaf", None, soon), "ca")) == {}
    after = PinSet((pin("leaf", None, soon), pin("leaf", soon, None), pin("spare")))
    assert codes(sight(chain("leaf")), following("leaf", pins=after)) == {}


def test_the_first_of_several_ends_is_told_of() -> None:
    by = following(pin("leaf", None, NOW + 9 * DAY), pin("rsa", None, NOW + 5 * DAY))
    seen = held(sight(chain("leaf")), sight(chain("rsa", "rsa-ca"), algorithm="rsa"))
    finding = codes(seen, by)["pin-ends"]
    assert finding.fingerprints == [text("rsa")]
    assert "2026-11-28" in finding.sentence


# -- pins that nobody serves -----------------------------------------------------------------------

OLD = NOW - 100 * DAY


def test_pins_that_nothing_has_served_for_long_are_told_of() -> None:
    by = following("leaf", "left", "over", created=OLD)
    served = {text("leaf"): NOW, text("over"): NOW - 95 * DAY}
    finding = codes(sight(chain("leaf")), by, served=served)["unserved-pin"]
    assert finding.severity == "info"
    assert f"has pins that nothing has been seen to serve for 90 days, {text('left')}" in (
        finding.sentence
    )
    assert finding.command == (
        f"livepin pin remove {API} {text('left')} && livepin pin remove {API} {text('over')}"
    )


@pytest.mark.parametrize(
    ("other", "served"),
    [
        (view(pin("new"), created=NOW - 80 * DAY), {}),
        (view(pin("spare2"), backup=True, created=OLD), {}),
        (view(pin("root2"), level="root", created=OLD), {}),
        (view(pin("later", NOW - DAY), created=OLD), {}),
        (view(pin("ended", None, NOW - DAY), created=OLD), {}),
        (view(pin("elsewhere"), created=OLD), {text("elsewhere"): NOW - 89 * DAY}),
        (view(pin("ca"), created=OLD), {}),
    ],
)
def test_pins_that_may_still_be_wanted_are_left_alone(other, served) -> None:
    by = following("leaf", created=OLD)
    by = following("leaf", created=OLD, views=[*by.views, other])
    assert codes(sight(chain("leaf")), by, served=served) == {}


def test_one_pin_is_one_pin_and_its_days_are_a_setting() -> None:
    by = following("leaf", "left", created=OLD, settings=MonitorSettings(unserved=99))
    finding = codes(sight(chain("leaf")), by)["unserved-pin"]
    assert "has a pin that nothing has been seen to serve for 99 days" in finding.sentence
    by = following("leaf", "left", created=OLD, settings=MonitorSettings(unserved=101))
    assert codes(sight(chain("leaf")), by) == {}


def test_many_pins_make_a_command_of_bounded_size() -> None:
    by = following("leaf", *(f"left {n}" for n in range(400)), created=OLD)
    finding = codes(sight(chain("leaf")), by)["unserved-pin"]
    assert finding.command.count("&&") == 9
    assert len(finding.fingerprints) == len(finding.pinned) == 20


def test_where_pinning_is_off_nothing_of_pins_is_said() -> None:
    by = following("leaf", "left", backups=(), created=OLD, mode="off")
    assert codes(sight(chain("leaf")), by) == {}


def test_times_at_the_ends_of_the_calendar_are_no_trouble() -> None:
    seen = chain("leaf", age=1, left=1)
    far = timedelta(days=700_000)
    for now in (NOW + far * 4, NOW - far):
        found(sight(seen), following("leaf", pin("ca", NOW, NOW + DAY)), now=now)
