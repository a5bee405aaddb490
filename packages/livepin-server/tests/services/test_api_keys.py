"""API keys: 256 random bits that are never kept, and refusals that tell nothing."""

import base64
import inspect
import re
from hashlib import sha256

import pytest
from livepin_server.errors import ConflictError, ForbiddenError, NotFoundError
from livepin_server.services import api_keys
from livepin_server.services.model import Intent, Role
from livepin_server.storage import schema
from sqlalchemy import select

INTENT = Intent(author="bob")

FORM = re.compile(r"lpk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@pytest.fixture
def made(services):
    return services.api_keys


def row(services, identity):
    table = schema.api_keys
    with services.database.reading() as connection:
        return connection.execute(select(table).where(table.c.id == identity)).one()


@pytest.mark.parametrize("role", Role)
def test_a_key_stands_for_its_role_and_account(made, role):
    view, text = made.create("ci", role, "acme", INTENT)
    found = made.verify(text)
    assert (found.key_id, found.name, found.role, found.account) == (view.id, "ci", role, "acme")


def test_a_key_has_256_random_bits_and_another_each_time(made):
    texts = [made.create(f"key {number}", Role.VIEWER, None, INTENT)[1] for number in range(20)]
    secrets = {base64.urlsafe_b64decode(FORM.fullmatch(text)[2] + "=") for text in texts}
    assert {len(secret) for secret in secrets} == {32}
    assert len(secrets) == 20


def test_only_the_sha_256_of_a_key_is_kept(services, made, opened):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    secret = FORM.fullmatch(text)[2]
    raw = base64.urlsafe_b64decode(secret + "=")
    assert row(services, view.id).digest == sha256(raw).digest()
    for path in opened.data.glob("livepin.db*"):
        content = path.read_bytes()
        assert secret.encode() not in content
        assert raw not in content


def test_a_key_is_shown_without_its_secret(made):
    view, text = made.create("ci", Role.VIEWER, None, INTENT)
    secret = FORM.fullmatch(text)[2]
    assert secret not in repr(view)
    assert secret not in repr(made.all())
    assert secret not in repr(made.verify(text))


def test_a_wrong_secret_of_a_known_key_is_refused(made):
    _, text = made.create("ci", Role.VIEWER, None, INTENT)
    identity, secret = FORM.fullmatch(text).groups()
    for place in (0, 20, 41):
        wrong = secret[:place] + ("B" if secret[place] == "A" else "A") + secret[place + 1 :]
        with pytest.raises(ForbiddenError):
            made.verify(f"lpk_{identity}_{wrong}")


def test_a_refusal_does_not_say_why(made):
    made.create("other", Role.ADMIN, None, INTENT)
    view, revoked = made.create("ci", Role.VIEWER, None, INTENT)
    made.revoke(view.id, INTENT)
    _, good = made.create("good", Role.VIEWER, None, INTENT)
    identity = FORM.fullmatch(good)[1]
    refused = {
        "": None,
        "x": None,
        revoked: None,
        f"lpk_{identity}_{'A' * 43}": None,
        f"lpk_{'0' * 12}_{'A' * 43}": None,
        f" {good}": None,
        f"{good}\n": None,
        good.upper(): None,
        f"{good}=": None,
        "lpk_é": None,
        "x" * 100_000: None,
    }
    for text in refused:
        with pytest.raises(ForbiddenError) as caught:
            made.verify(text)
        refused[text] = (str(caught.value), caught.value.hint)
    assert set(refused.values()) == {
        ("the API key is not valid", "ask an admin for a new one"),
    }


def test_the_secret_that_stands_for_nobody_opens_nothing(made):
    # An unknown key is compared with the digest of nothing at all; that must be no way in.
    with pytest.raises(ForbiddenError):
        made.verify(f"lpk_{'0' * 12}_{'A' * 43}")


def test_secrets_are_compared_in_constant_time():
    source = inspect.getsource(api_keys.ApiKeys.verify)
    assert "hmac.compare_digest(digest, expected)" in source
    assert "==" not in source.replace("api_keys.c.id == identity", "")


def test_a_revoked_key_is_refused_from_then_on_and_still_listed(made, clock):
    view, text = made.create("ci", Role.OPERATOR, None, INTENT)
    made.verify(text)
    clock.advance(minutes=5)
    assert made.revoke(view.id, INTENT).revoked == clock()
    with pytest.raises(ForbiddenError):
        made.verify(text)
    assert {each.name: each.revoked for each in made.all()} == {"operator": None, "ci": clock()}


def test_a_key_cannot_be_revoked_twice_and_an_unknown_one_not_at_all(made):
    view, _ = made.create("ci", Role.OPERATOR, None, INTENT)
    made.revoke(view.id, INTENT)
    for identity in (view.id, "nobody"):
        with pytest.raises(NotFoundError, match="no valid API key") as caught:
            made.revoke(identity, INTENT)
        assert caught.value.hint


def test_the_last_admin_key_of_the_server_stays(made):
    (operator,) = made.all()
    made.create("admin of one account", Role.ADMIN, "acme", INTENT)
    made.create("operator of all", Role.OPERATOR, None, INTENT)
    with pytest.raises(ConflictError, match="the last admin key") as caught:
        made.revoke(operator.id, INTENT)
    assert caught.value.hint == "make another one first"
    made.create("second", Role.ADMIN, None, INTENT)
    assert made.revoke(operator.id, INTENT).revoked is not None


def test_a_name_is_taken_once(made):
    made.create("ci", Role.VIEWER, None, INTENT)
    with pytest.raises(ConflictError, match="an API key is named 'ci' already"):
        made.create("ci", Role.ADMIN, None, INTENT)


def test_an_unknown_account_suggests_the_nearest(made):
    with pytest.raises(NotFoundError, match="no account 'acmee'") as caught:
        made.create("ci", Role.VIEWER, "acmee", INTENT)
    assert caught.value.hint == "did you mean acme?"
    assert [each.name for each in made.all()] == ["operator"]
