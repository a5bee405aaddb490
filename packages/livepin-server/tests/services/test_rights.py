"""What an API key may be and do: scopes only narrow, and none gives more than it has."""

import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.errors import InvalidError
from livepin_server.services.model import ApiKeyView, Area, Principal, Role
from livepin_server.services.rights import (
    beyond,
    checked_expiry,
    checked_name,
    checked_scopes,
    may,
    named,
    reaches,
)

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)
PLUS_14 = dt.timezone(dt.timedelta(hours=14))
MINUS_14 = dt.timezone(dt.timedelta(hours=-14))

areas = st.frozensets(st.sampled_from(Area))
scopes = st.none() | st.lists(st.sampled_from(Area), unique=True).map(tuple)


def key(**members):
    members = {"role": Role.ADMIN, "account": None, **members}
    return ApiKeyView(id="0" * 12, name="ci", created=NOW, **members)


keys = st.builds(
    key,
    role=st.sampled_from(Role),
    account=st.sampled_from([None, "acme", "beta"]),
    scopes=scopes,
    expires=st.none() | st.sampled_from([NOW + DAY, NOW + 2 * DAY]),
)


def caller(role, scopes=None):
    return Principal(key_id="0" * 12, name="ci", role=role, scopes=scopes)


# -- scopes --------------------------------------------------------------------------------------


@given(role=st.sampled_from(Role), needed=st.sampled_from(Role), scopes=scopes, wanted=areas)
@settings(max_examples=300)
def test_scopes_only_ever_narrow(role, needed, scopes, wanted):
    if may(caller(role, scopes), needed, *wanted):
        assert may(caller(role), needed, *wanted)
        assert scopes is None or wanted & set(scopes)


@given(role=st.sampled_from(Role))
def test_no_scope_reaches_what_has_no_area(role):
    assert reaches(caller(role), ())
    assert not reaches(caller(role, tuple(Area)), ())
    assert not reaches(caller(role, ()), tuple(Area))


def test_scopes_are_kept_in_one_order_and_once():
    assert checked_scopes(None, "acme") is None
    assert checked_scopes([Area.PINS, Area.DOMAINS, Area.PINS], "acme") == (
        Area.DOMAINS, Area.PINS,
    )  # fmt: skip
    assert checked_scopes([Area.METRICS], None) == (Area.METRICS,)


@pytest.mark.parametrize(
    ("scopes", "text"),
    [
        ([], "expected at least one scope"),
        ([Area.PINS, Area.METRICS], "the metrics are those of the whole server, not of acme"),
    ],
)
def test_scopes_that_reach_nothing_are_refused(scopes, text):
    with pytest.raises(InvalidError, match=text) as caught:
        checked_scopes(scopes, "acme")
    assert caught.value.hint


def test_areas_are_named_in_words():
    assert named([Area.PINS]) == "pins"
    assert named([Area.DOMAINS, Area.PINS, Area.STREAMS]) == "domains, pins or streams"
    assert named([]) == "none"


# -- none gives more than it has -----------------------------------------------------------------


def powers(found):
    """Return everything that a key can do, and when."""
    accounts = {found.account} if found.account else {None, "acme", "beta"}
    rank = [Role.PENTEST, Role.VIEWER, Role.OPERATOR, Role.ADMIN].index(found.role)
    reached = set(Area if found.scopes is None else found.scopes)
    days = range(4) if found.expires is None else range((found.expires - NOW).days)
    return set(itertools.product(accounts, range(rank + 1), reached, days))


@given(wanted=keys, own=keys)
@settings(max_examples=1000)
def test_a_key_that_is_not_beyond_another_can_do_nothing_more(wanted, own):
    if beyond(wanted, own) is None:
        assert powers(wanted) <= powers(own)


@given(own=keys)
def test_no_key_is_beyond_itself_nor_beyond_one_that_can_do_everything(own):
    assert beyond(own, own) is None
    assert beyond(own, key()) is None


@pytest.mark.parametrize(
    ("wanted", "own", "text"),
    [
        ({"account": "beta"}, {"account": "acme"}, "other accounts"),
        ({"account": None}, {"account": "acme"}, "other accounts"),
        ({"role": Role.ADMIN}, {"role": Role.OPERATOR}, "the role admin"),
        ({"scopes": None}, {"scopes": (Area.KEYS,)}, "every scope"),
        (
            {"scopes": (Area.KEYS, Area.PINS, Area.ROOT)},
            {"scopes": (Area.KEYS,)},
            "the scope pins or root",
        ),
        ({"expires": None}, {"expires": NOW}, "a life beyond 2026-11-23 12:00 UTC"),
        ({"expires": NOW + DAY}, {"expires": NOW}, "a life beyond 2026-11-23 12:00 UTC"),
    ],
)
def test_what_is_more_is_said(wanted, own, text):
    assert beyond(key(**wanted), key(**own)) == text


# -- names and times -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ci", "CI of the shop", "bücher", "a_b.c:d", "x" * 200])
def test_a_name_may_be_what_people_write(name):
    assert checked_name(name) == name


@given(st.text(max_size=300))
def test_a_name_stands_in_a_line_and_in_a_path(text):
    try:
        name = checked_name(text)
    except InvalidError:
        return
    assert name == text
    assert "/" not in name
    assert name.isprintable()
    assert len(name.splitlines()) == 1
    name.encode()


@pytest.mark.parametrize(
    ("expires", "text"),
    [
        (NOW, "expected an expiry to come, found 2026-11-23 12:00 UTC"),
        (NOW - DAY, "expected an expiry to come, found 2026-11-22 12:00 UTC"),
        (dt.datetime.max.replace(tzinfo=MINUS_14), "before the year 10000"),
        (dt.datetime.min.replace(tzinfo=PLUS_14), "before the year 10000"),
    ],
)
def test_an_expiry_that_cannot_be_is_refused(expires, text):
    with pytest.raises(InvalidError, match=text):
        checked_expiry(expires, NOW)


@given(st.none() | st.datetimes(timezones=st.timezones() | st.sampled_from([PLUS_14, MINUS_14])))
@settings(deadline=None)
def test_an_expiry_is_later_and_in_utc_or_refused(expires):
    try:
        found = checked_expiry(expires, NOW)
    except InvalidError:
        return
    if found is not None:
        # By the clock: hours that a time zone leaves out, or has twice, equal none in UTC.
        assert found.timestamp() == expires.timestamp() > NOW.timestamp()
        assert found.tzinfo is dt.timezone.utc
