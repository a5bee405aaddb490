"""What expires is said in time, and what should have been signed again."""

import datetime as dt

import pytest
from livepin_server.services.expiry import Expiry, delivery_warning, key_warnings, warnings
from livepin_server.services.model import ApiKeyView, Role

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
DAY, MINUTE = dt.timedelta(days=1), dt.timedelta(minutes=1)


def config(issued, lifetime=14 * DAY):
    return Expiry(
        kind="config", account="acme", stream="main", version=7, issued=issued,
        expires=issued + lifetime,
    )  # fmt: skip


def root(expires):
    return Expiry(
        kind="root", account="acme", stream="", version=2, issued=NOW - DAY, expires=expires
    )


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (91 * DAY, None),
        (89 * DAY, "root 2 of acme expires on 2027-02-20: livepin root prepare --account acme"),
        (-DAY, "root 2 of acme expired on 2026-11-22: livepin root prepare --account acme"),
    ],
)
def test_a_root_is_spoken_of_from_90_days_before(left, text):
    assert warnings([root(NOW + left)], NOW) == ([text] if text else [])


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (7 * DAY + 60 * MINUTE, None),
        (8 * DAY, "expires on 2026-11-29"),
        (15 * DAY, "expired on 2026-11-22"),
    ],
)
def test_a_config_that_nobody_signs_again_is_found_long_before_it_expires(age, text):
    expected = f"config 7 of acme/main was not signed again, the log says why; it {text}"
    assert warnings([config(NOW - age)], NOW) == ([expected] if text else [])


def test_a_config_of_the_future_is_found_and_a_small_difference_is_not():
    assert warnings([config(NOW + 4 * MINUTE)], NOW) == []
    assert warnings([config(NOW + 365 * DAY)], NOW) == [
        "config 7 of acme/main was issued at 2027-11-23 12:00, which is in the future"
    ]


def test_the_certificate_of_delivery_is_spoken_of_from_90_days_before():
    assert delivery_warning(NOW + 90 * DAY, NOW) is None
    assert delivery_warning(NOW + 89 * DAY, NOW) == (
        "the certificate of delivery expires on 2027-02-20: livepin delivery renew-keys"
    )


def test_the_newest_of_each_account_and_stream_counts(services, add_domain, clock):
    clock.advance(days=1)
    add_domain()
    found = services.published.expiries()
    assert [(e.kind, e.account, e.stream, e.version) for e in found] == [
        ("root", "acme", "", 1), ("config", "acme", "main", 2),
    ]  # fmt: skip
    assert found[1].issued == clock()
    assert found[1].expires == clock() + 14 * DAY


def key(**members):
    members = {"name": "ci", "account": None, "created": NOW - DAY, **members}
    return ApiKeyView(id="0" * 12, role=Role.VIEWER, **members)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, None),
        ({"expires": NOW + 14 * DAY}, None),
        ({"expires": NOW + 14 * DAY - MINUTE}, "ci expires on 2026-12-07"),
        ({"expires": NOW + DAY, "account": "acme"}, "ci of acme expires on 2026-11-24"),
        ({"expires": NOW}, "ci expired on 2026-11-23"),
        ({"expires": NOW, "revoked": NOW}, None),
        ({"created": NOW - 90 * DAY + MINUTE}, None),
        (
            {"created": NOW - 90 * DAY},
            "ci was not used since 2026-08-25: revoke it unless somebody needs it",
        ),
        ({"created": NOW - 90 * DAY, "revoked": NOW}, None),
        ({"created": NOW - 900 * DAY, "last_used": NOW - 89 * DAY}, None),
        ({"created": NOW - 900 * DAY, "rotated": NOW - 89 * DAY}, None),
        (
            {"created": NOW - 900 * DAY, "last_used": NOW - 91 * DAY},
            "ci was not used since 2026-08-24: revoke it unless somebody needs it",
        ),
    ],
)
def test_a_key_is_spoken_of_before_it_expires_and_when_nobody_uses_it(members, text):
    assert key_warnings([key(**members)], NOW) == ([f"the API key {text}"] if text else [])
