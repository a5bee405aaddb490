"""What a person types of days and lengths of time: read exactly, or refused in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.cli.output import CommandError
from livepin_server.cli.parameters import expiry, lifetime, moment

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
quick = settings(deadline=None, max_examples=300)
digits = st.sampled_from("0123456789٣²")
texts = (
    st.text(max_size=40)
    | st.text(st.sampled_from("0123456789mhdw-+.: TZ\n"), max_size=30)
    | st.builds("{}{}".format, st.text(digits, min_size=1, max_size=6), st.sampled_from("mhdwy"))
    | st.datetimes().map(datetime.isoformat)
    | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
    | st.dates().map(lambda day: day.isoformat())
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", timedelta()),
        ("0h", timedelta()),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(days=1)),
        ("90d", timedelta(days=90)),
        ("12w", timedelta(days=84)),
        ("0090d", timedelta(days=90)),
        ("9999w", timedelta(weeks=9999)),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text, found) -> None:
    assert lifetime(text, option="--overlap") == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90",
        "d",
        "90 d",
        "-1d",
        "+1d",
        "1.5d",
        "1y",
        "90D",
        "1d12h",
        "90d\n",
        "٣d",
        "10000d",
        "1e2d",
    ],
)
def test_what_is_no_length_of_time_is_refused(text) -> None:
    with pytest.raises(CommandError) as caught:
        lifetime(text, option="--overlap")
    assert str(caught.value) == f"--overlap: expected a length of time, found {text!r}"
    assert caught.value.hint == "such as 30m, 24h, 90d or 12w"


@quick
@given(number=st.integers(0, 9999), unit=st.sampled_from("mhdw"))
def test_a_length_of_time_grows_with_its_number(number, unit) -> None:
    one = lifetime(f"1{unit}", option="--overlap")
    assert lifetime(f"{number}{unit}", option="--overlap") == number * one


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("90d", "2027-02-21T12:00:00Z"),
        ("0d", "2026-11-23T12:00:00Z"),
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
        ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z"),
    ],
)
def test_an_expiry_is_a_length_of_time_a_day_or_a_time(text, found) -> None:
    assert expiry(text, option="--expires", now=NOW) == found


@pytest.mark.parametrize(
    "text", ["", "0", "90", "soon", "2027-02-30", "2027-01-31T12:00", "9999-12-31T23:59:59-14:00"]
)
def test_what_is_no_expiry_is_refused_with_examples(text) -> None:
    with pytest.raises(CommandError) as caught:
        expiry(text, option="--expires", now=NOW)
    assert str(caught.value) == (
        f"--expires: expected a day or a time with its zone, found {text!r}"
    )
    assert caught.value.hint == "such as 90d, 2027-01-31, or 2027-01-31T12:00:00Z"
    with pytest.raises(CommandError) as caught:
        moment(text, option="--not-after")
    assert caught.value.hint == "such as 2027-01-31, or 2027-01-31T12:00:00Z"


@quick
@given(text=texts)
def test_whatever_is_typed_is_a_moment_in_utc_or_refused_in_a_line(text) -> None:
    try:
        found = expiry(text, option="--expires", now=NOW)
    except CommandError as exc:
        found, said = None, str(exc)
    if found is None:
        assert len(said.splitlines()) == 1
        assert len(said) < 300
        return
    assert found.endswith("Z")
    assert datetime.fromisoformat(found).utcoffset() == timedelta()


@quick
@given(moment_=st.datetimes(timezones=st.timezones()))
def test_a_time_that_is_written_as_people_do_is_the_same_time(moment_) -> None:
    try:
        expected = moment_.astimezone(timezone.utc)
    except OverflowError:
        return
    found = moment(moment_.isoformat(), option="--expires")
    offset = moment_.utcoffset()
    if offset is not None and offset == timedelta(minutes=offset // timedelta(minutes=1)):
        assert found is not None
        assert datetime.fromisoformat(found) == expected
