"""API keys: 256 random bits that are never kept, and refusals that tell nothing."""

import base64
import datetime as dt
import inspect
import re
import threading
from hashlib import sha256

import pytest
from livepin_server.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from livepin_server.services import api_keys
from livepin_server.services.model import Area, Intent, Role
from livepin_server.storage import schema
from sqlalchemy import event, select, update
from sqlalchemy import text as sql

INTENT = Intent(author="bob")
FORM = re.compile(r"lpk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture
def made(services):
    return services.api_keys


@pytest.fixture
def refused(made):
    """Check that no text of these is taken, each for the same reason."""

    def one(*texts):
        for text in texts:
            with pytest.raises(ForbiddenError) as caught:
                made.verify(text)
            assert str(caught.value) == "the API key is not valid"
            assert caught.value.hint == "ask an admin for a new one"

    return one


def row(services, identity):
    table = schema.api_keys
    with services.database.reading() as connection:
        return connection.execute(select(table).where(table.c.id == identity)).one()


# -- what a key is -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_a_key_stands_for_its_role_and_account(made, role):
    view, text = made.create("ci", role, "acme", INTENT)
    found = made.verify(text)
    assert (found.key_id, found.name, found.role, found.account) == (view.id, "ci", role, "acme")
    assert found.scopes is None


def test_a_key_has_256_random_bits_and_another_each_time(made):
    texts = [made.create(f"key {number}", Role.VIEWER, None, INTENT)[1] for number in range(20)]
    secrets = {base64.urlsafe_b64decode(FORM.fullmatch(text)[2] + "=") for text in texts}
    assert {len(secret) for secret in secrets} == {32}
    assert len(secrets) == 20


def test_only_the_sha_256_of_a_key_is_kept(services, made, opened):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    _, newer = made.rotate("ci", INTENT)
    for each in (text, newer):
        secret = FORM.fullmatch(each)[2]
        raw = base64.urlsafe_b64decode(secret + "=")
        kept = row(services, view.id)
        assert sha256(raw).digest() in (kept.digest, kept.previous)
        for path in opened.data.glob("livepin.db*"):
            content = path.read_bytes()
            assert secret.encode() not in content
            assert raw not in content


def test_a_key_is_shown_without_its_secret(made):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    rotated, newer = made.rotate("ci", INTENT)
    shown = [
        view,
        rotated,
        made.all(),
        made.show("ci"),
        made.verify(text),
        made.revoke("ci", INTENT),
    ]
    for each in (text, newer):
        assert FORM.fullmatch(each)[2] not in repr(shown)
    assert "digest" not in repr(shown)


def test_a_key_says_who_made_it_and_what_it_may(made, clock):
    expires = clock() + DAY
    view, _ = made.create(
        "ci", Role.OPERATOR, "acme", INTENT, scopes=[Area.STREAMS, Area.PINS], expires=expires
    )
    assert made.show("ci") == view
    assert view.scopes == (Area.PINS, Area.STREAMS)
    assert (view.created, view.created_by, view.expires) == (clock(), "bob", expires)
    assert {each.created_by for each in made.all()} == {"livepin init", "bob"}


def test_an_expiry_is_kept_in_utc(made, clock):
    zone = dt.timezone(dt.timedelta(hours=2))
    view, _ = made.create("ci", Role.VIEWER, None, INTENT, expires=(clock() + DAY).astimezone(zone))
    assert made.show("ci").expires == view.expires == clock() + DAY
    assert view.expires.tzinfo is dt.timezone.utc


# -- what is no key ------------------------------------------------------------------------------


def test_a_wrong_secret_of_a_known_key_is_refused(made, refused):
    _, text = made.create("ci", Role.VIEWER, None, INTENT)
    identity, secret = FORM.fullmatch(text).groups()
    for place in (0, 20, 41, 42):
        wrong = secret[:place] + ("B" if secret[place] == "A" else "A") + secret[place + 1 :]
        refused(f"lpk_{identity}_{wrong}")


def test_a_refusal_does_not_say_why(made, refused, clock):
    made.create("other", Role.ADMIN, None, INTENT)
    view, revoked = made.create("ci", Role.VIEWER, None, INTENT)
    made.revoke(view.id, INTENT)
    _, expired = made.create("short", Role.VIEWER, None, INTENT, expires=clock() + MINUTE)
    _, rotated = made.create("old", Role.VIEWER, None, INTENT)
    made.rotate("old", INTENT, overlap=dt.timedelta())
    _, good = made.create("good", Role.VIEWER, None, INTENT)
    clock.advance(minutes=1)
    identity = FORM.fullmatch(good)[1]
    refused(
        "", "x", revoked, expired, rotated, f"lpk_{identity}_{'A' * 43}", f" {good}", f"{good}\n",
        f"lpk_{'0' * 12}_{'A' * 43}", good.upper(), f"{good}=", "lpk_é", "x" * 100_000,
    )  # fmt: skip


def test_the_secret_that_stands_for_nobody_opens_nothing(refused):
    # An unknown key is compared with the digest of nothing at all; that must be no way in.
    refused(f"lpk_{'0' * 12}_{'A' * 43}")


def test_secrets_are_compared_in_constant_time_and_both_always():
    source = inspect.getsource(api_keys.ApiKeys.verify)
    both = "compare_digest(digest, newest) | hmac.compare_digest(digest, previous)"
    assert both in source
    assert "==" not in source


# -- its end -------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_from_then_on_and_still_listed(made, refused, clock):
    view, text = made.create("ci", Role.OPERATOR, None, INTENT)
    made.verify(text)
    clock.advance(minutes=5)
    assert made.revoke(view.id, INTENT).revoked == clock()
    refused(text)
    assert {each.name: each.revoked for each in made.all()} == {"operator": None, "ci": clock()}


def test_a_key_expires_to_the_moment(made, refused, clock):
    _, text = made.create("ci", Role.OPERATOR, None, INTENT, expires=clock() + HOUR)
    clock.advance(minutes=59, seconds=59)
    assert made.verify(text).name == "ci"
    clock.advance(seconds=1)
    refused(text)
    with pytest.raises(ConflictError, match="'ci' has expired"):
        made.rotate("ci", INTENT)
    assert made.revoke("ci", INTENT).revoked == clock()


def test_a_key_cannot_be_revoked_twice_and_an_unknown_one_not_at_all(made):
    view, _ = made.create("ci", Role.OPERATOR, None, INTENT)
    made.revoke(view.id, INTENT)
    for change in (made.revoke, made.rotate):
        for identity in (view.id, "ci", "nobody", "operater"):
            with pytest.raises(NotFoundError, match="no valid API key") as caught:
                change(identity, INTENT)
            assert "operator" in caught.value.hint


def test_the_last_admin_key_of_the_server_stays(made, clock):
    (operator,) = made.all()
    made.create("admin of one account", Role.ADMIN, "acme", INTENT)
    made.create("operator of all", Role.OPERATOR, None, INTENT)
    made.create("admin of keys", Role.ADMIN, None, INTENT, scopes=[Area.KEYS])
    made.create("admin for a day", Role.ADMIN, None, INTENT, expires=clock() + DAY)
    with pytest.raises(ConflictError, match="the last admin key of the server") as caught:
        made.revoke(operator.id, INTENT)
    assert caught.value.hint == "make another one first"
    made.create("second", Role.ADMIN, None, INTENT)
    assert made.revoke(operator.id, INTENT).revoked is not None


# -- rotation ------------------------------------------------------------------------------------


def test_a_rotated_key_is_the_same_key_with_another_secret(made, clock):
    view, old = made.create("ci", Role.OPERATOR, "acme", INTENT, scopes=[Area.PINS])
    clock.advance(minutes=1)
    rotated, new = made.rotate("ci", INTENT, overlap=HOUR)
    assert new != old
    assert FORM.fullmatch(new)[1] == FORM.fullmatch(old)[1] == view.id
    assert made.verify(new) == made.verify(old)
    assert (rotated.rotated, rotated.overlap_until) == (clock(), clock() + HOUR)
    assert (rotated.created, rotated.expires, rotated.scopes) == (view.created, None, view.scopes)


def test_the_old_secret_is_taken_until_the_overlap_ends(made, refused, clock):
    _, old = made.create("ci", Role.OPERATOR, None, INTENT)
    _, new = made.rotate("ci", INTENT)
    clock.advance(hours=23, minutes=59)
    made.verify(old)
    clock.advance(minutes=1)
    refused(old)
    made.verify(new)


def test_rotating_again_ends_the_overlap_at_once(made, refused):
    _, first = made.create("ci", Role.OPERATOR, None, INTENT)
    _, second = made.rotate("ci", INTENT)
    _, third = made.rotate("ci", INTENT)
    refused(first)
    made.verify(second)
    made.verify(third)


def test_without_an_overlap_the_old_secret_is_refused_at_once_and_for_ever(made, refused, clock):
    _, old = made.create("ci", Role.OPERATOR, None, INTENT)
    rotated, new = made.rotate("ci", INTENT, overlap=dt.timedelta())
    assert rotated.overlap_until is None
    refused(old)
    clock.advance(hours=-3)  # a clock that goes back
    refused(old)
    made.verify(new)


def test_a_revoked_key_ends_with_the_secret_of_an_overlap(made, refused):
    _, old = made.create("ci", Role.OPERATOR, None, INTENT)
    _, new = made.rotate("ci", INTENT)
    made.revoke("ci", INTENT)
    refused(old, new)


@pytest.mark.parametrize("overlap", [-MINUTE, dt.timedelta(days=30, seconds=1)])
def test_an_overlap_is_bounded(made, overlap):
    _, text = made.create("ci", Role.OPERATOR, None, INTENT)
    with pytest.raises(InvalidError, match="at most 30 days"):
        made.rotate("ci", INTENT, overlap=overlap)
    made.verify(text)


# -- names ---------------------------------------------------------------------------------------


def test_a_name_is_taken_once(made):
    made.create("ci", Role.VIEWER, None, INTENT)
    for account in (None, "acme"):
        with pytest.raises(ConflictError, match="an API key is named 'ci' already"):
            made.create("ci", Role.ADMIN, account, INTENT)
    made.create("nightly", Role.VIEWER, "acme", INTENT)
    with pytest.raises(ConflictError, match="an API key is named 'nightly' already"):
        made.create("nightly", Role.VIEWER, None, INTENT)


def test_a_name_is_free_again_once_its_key_is_revoked(made, clock):
    for account in (None, "acme"):
        first, _ = made.create("ci", Role.VIEWER, account, INTENT)
        assert made.revoke("ci", INTENT).id == first.id
        clock.advance(minutes=1)
        second, text = made.create("ci", Role.VIEWER, account, INTENT)
        assert made.show("ci").id == second.id == made.verify(text).key_id
        assert made.show(first.id).revoked is not None
        made.revoke("ci", INTENT)


def test_a_name_that_several_had_is_asked_for_by_its_id(made, clock):
    for _ in range(2):
        made.create("ci", Role.VIEWER, "acme", INTENT)
        made.revoke("ci", INTENT)
        clock.advance(minutes=1)
    with pytest.raises(ConflictError, match="2 API keys are named 'ci'") as caught:
        made.show("ci")
    first, second = (each.id for each in made.all() if each.name == "ci")
    assert caught.value.hint == (
        f"by ID: {first} (of acme, revoked on 2026-11-23), "
        f"{second} (of acme, revoked on 2026-11-23)"
    )
    made.create("ci", Role.VIEWER, "acme", INTENT)
    assert made.show("ci").revoked is None


def test_an_id_goes_before_a_name(made):
    first, _ = made.create("first", Role.VIEWER, None, INTENT)
    made.create(first.id, Role.VIEWER, None, INTENT)
    assert made.show(first.id).name == "first"


@pytest.mark.parametrize("name", ["", " ci", "ci\n", "a/b", "a\0b", "lpk_x", "x" * 201, "\x1b[2J"])
def test_a_name_can_stand_in_a_path_and_on_a_terminal(made, name):
    with pytest.raises(InvalidError, match="expected a name of 1 to 200 characters"):
        made.create(name, Role.VIEWER, None, INTENT)


def test_an_unknown_account_suggests_the_nearest(made):
    with pytest.raises(NotFoundError, match="no account 'acmee'") as caught:
        made.create("ci", Role.VIEWER, "acmee", INTENT)
    assert caught.value.hint == "did you mean acme?"
    assert [each.name for each in made.all()] == ["operator"]


def test_keys_are_bounded(made, monkeypatch):
    monkeypatch.setattr(api_keys, "_MOST", 3)
    for number in range(3):
        made.create(f"key {number}", Role.VIEWER, "acme", INTENT)
    with pytest.raises(ConflictError, match="there are 3 API keys already") as caught:
        made.create("one more", Role.VIEWER, "acme", INTENT)
    assert caught.value.hint == "revoke what nobody uses"
    made.revoke("key 0", INTENT)
    made.create("one more", Role.VIEWER, "acme", INTENT)
    made.create("of the server", Role.VIEWER, None, INTENT)


# -- accounts ------------------------------------------------------------------------------------


def test_within_an_account_there_are_only_its_keys(made):
    view, text = made.create("ci", Role.VIEWER, "acme", INTENT)
    assert made.all("acme") == [view]
    for change in (made.rotate, made.revoke):
        with pytest.raises(NotFoundError, match="no valid API key 'operator'"):
            change("operator", INTENT, account="acme")
    with pytest.raises(NotFoundError, match="no API key 'operator'"):
        made.show("operator", "acme")
    for call in (
        lambda: made.all("beta"),
        lambda: made.show("ci", "beta"),
        lambda: made.revoke("ci", INTENT, account="beta"),
    ):
        with pytest.raises(NotFoundError, match="no account 'beta'"):
            call()
    made.verify(text)


def test_a_scope_that_this_version_does_not_know_opens_nothing(services, made):
    view, text = made.create("ci", Role.VIEWER, None, INTENT, scopes=[Area.PINS])
    table = schema.api_keys
    for kept, scopes in (("pins time-travel", (Area.PINS,)), ("time-travel", ()), ("", ())):
        change = update(table).where(table.c.id == view.id).values(scopes=kept)
        services.database.write(lambda connection, change=change: connection.execute(change))
        assert made.verify(text).scopes == scopes


# -- the last use --------------------------------------------------------------------------------


def uses(made, name="ci"):
    found = made.show(name)
    return found.last_used, found.last_used_from


def test_a_use_is_shown_at_once_and_written_down_later(services, made, clock):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    assert uses(made) == (None, None)
    clock.advance(minutes=3)
    made.verify(text, "192.0.2.7")
    assert uses(made) == (clock(), "192.0.2.7")
    assert row(services, view.id).last_used is None
    made.keep_uses()
    assert row(services, view.id).last_used == clock()
    assert row(services, view.id).last_used_from == "192.0.2.7"
    assert uses(made) == (clock(), "192.0.2.7")


def test_a_thousand_uses_are_no_write_and_one_update_later(services, made, clock):
    _, text = made.create("ci", Role.VIEWER, None, INTENT)
    statements = []
    engine = services.database._engine
    event.listen(engine, "before_cursor_execute", lambda *found: statements.append(found[2]))
    for _ in range(1000):
        clock.advance(seconds=1)
        made.verify(text, "192.0.2.7")
    assert not [each for each in statements if not each.startswith(("SELECT", "BEGIN"))]
    made.keep_uses()
    made.keep_uses()
    assert len([each for each in statements if each.startswith("UPDATE")]) == 1


def test_a_use_within_a_minute_of_the_last_from_the_same_address_is_no_news(services, made, clock):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    first = clock()
    made.verify(text, "192.0.2.7")
    made.keep_uses()
    clock.advance(seconds=59)
    made.verify(text, "192.0.2.7")
    made.keep_uses()
    assert row(services, view.id).last_used == first
    made.verify(text, "192.0.2.8")
    made.keep_uses()
    assert uses(made) == (clock(), "192.0.2.8")


def test_a_wrong_secret_is_no_use(made):
    view, _ = made.create("ci", Role.VIEWER, None, INTENT)
    with pytest.raises(ForbiddenError):
        made.verify(f"lpk_{view.id}_{'A' * 43}", "192.0.2.7")
    assert uses(made) == (None, None)


def test_a_use_of_another_process_stays_if_it_was_later(services, made, clock, opened):
    _, text = made.create("ci", Role.VIEWER, None, INTENT)
    other = api_keys.ApiKeys(services.database, clock=clock)
    made.verify(text, "192.0.2.7")
    clock.advance(minutes=2)
    other.verify(text, "192.0.2.8")
    other.keep_uses()
    assert uses(made) == (clock(), "192.0.2.8")
    made.keep_uses()
    assert uses(made) == (clock(), "192.0.2.8")


def test_a_use_that_is_to_come_by_a_wrong_clock_does_not_stay(made, clock):
    _, text = made.create("ci", Role.VIEWER, None, INTENT)
    clock.advance(days=1000)
    made.verify(text, "192.0.2.7")
    made.keep_uses()
    clock.advance(days=-999)
    made.verify(text, "192.0.2.8")
    made.keep_uses()
    assert uses(made) == (clock(), "192.0.2.8")


def test_a_use_that_cannot_be_written_down_is_tried_again(services, made):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    made.verify(text, "192.0.2.7")

    def rename(source, target):
        change = sql(f"ALTER TABLE {source} RENAME TO {target}")
        services.database.write(lambda connection: connection.execute(change))

    rename("api_keys", "gone")
    with pytest.raises(UnavailableError):
        made.keep_uses()
    rename("gone", "api_keys")
    made.keep_uses()
    assert row(services, view.id).last_used_from == "192.0.2.7"


def test_an_address_is_bounded(made):
    _, text = made.create("ci", Role.VIEWER, None, INTENT)
    made.verify(text, "x" * 1000)
    made.keep_uses()
    assert uses(made)[1] == "x" * 64


# -- who makes keys ------------------------------------------------------------------------------


@pytest.fixture
def admin(made, clock):
    """Make an admin key, and return the intent of who uses it."""

    def one(**members):
        view, _ = made.create("admin", Role.ADMIN, members.pop("account", None), INTENT, **members)
        return view, Intent(author="admin", key_id=view.id)

    return one


def test_a_key_makes_what_may_as_much_as_itself(made, admin, clock):
    expires = clock() + DAY
    _, intent = admin(account="acme", scopes=[Area.KEYS, Area.PINS], expires=expires)
    for name, scopes in (("a", [Area.KEYS, Area.PINS]), ("b", [Area.PINS])):
        made.create(name, Role.ADMIN, "acme", intent, scopes=scopes, expires=expires)
        made.create(f"{name} short", Role.VIEWER, "acme", intent, scopes=scopes, expires=expires)
        made.rotate(name, intent)


def test_two_that_make_a_key_of_one_name_at_once_get_one(made, services):
    """The name is looked for in the transaction that takes it."""
    start, found = threading.Barrier(4), []

    def make():
        start.wait(30)
        try:
            found.append(made.create("ci", Role.VIEWER, None, INTENT)[0])
        except ConflictError as exc:
            found.append(str(exc))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert sorted(map(str, found))[-3:] == ["an API key is named 'ci' already"] * 3


def test_a_key_that_was_just_revoked_makes_revokes_and_rotates_none(made, admin, services):
    """It was valid when the request came in, and is no more when the change is made."""
    view, intent = admin()
    made.create("ci", Role.VIEWER, None, INTENT)
    made.revoke(view.id, INTENT)
    for change in (
        lambda: made.create("mine", Role.VIEWER, None, intent),
        lambda: made.rotate("ci", intent),
        lambda: made.revoke("ci", intent),
    ):
        with pytest.raises(ForbiddenError, match="not valid any more"):
            change()
    assert {each.name for each in made.all() if each.revoked is None} == {"operator", "ci"}
