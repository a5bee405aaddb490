"""The data folder: made whole or not at all, opened only if everything in it is right."""

import datetime as dt
import shutil
import stat
from pathlib import Path

import msgspec
import pytest
from livepin.documents.root import TYP
from livepin.errors import ConfigurationError, LivepinError
from livepin.jose import PrivateKey, sign_general
from livepin.trust import TrustedState
from livepin_server import folder
from livepin_server.custody import tls_identity
from livepin_server.custody.root_file import read_root_key
from livepin_server.errors import ConflictError, CustodyError, SchemaError, ServiceError
from livepin_server.folder import Plan
from livepin_server.services.delivery_settings import pin_texts
from livepin_server.services.model import Intent, Role
from livepin_server.storage.schema import keys
from sqlalchemy import delete

INTENT = Intent(author="bob")

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def plan(tmp_path, settings):
    """Make a plan with members changed; the root key goes to a file."""

    def one(**members):
        members.setdefault("data", tmp_path / "new")
        members.setdefault("root_key", tmp_path / "root.key")
        members.setdefault("account", "acme")
        members["settings"] = msgspec.structs.replace(settings, **members.pop("settings", {}))
        return Plan(passphrase=members.pop("passphrase", PASSPHRASE), **members)

    return one


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# -- init ----------------------------------------------------------------------------------------


def test_init_makes_a_folder_that_opens_and_has_the_account(plan, clock, open_folder):
    folder.initialise(plan(), clock=clock)
    with open_folder(plan().data) as opened:
        (account,) = opened.services.accounts.all()
        assert (account.name, account.root_version, account.root_online) == ("acme", 1, False)
        assert account.streams == ["main"]
        (published,) = opened.services.published.history("acme", "main")
        assert (published.version, published.author) == (1, "livepin init")


def test_what_is_secret_is_for_the_owner_alone(plan, clock):
    folder.initialise(plan(), clock=clock)
    data = plan().data
    assert mode(data) == mode(data / "tls") == 0o700
    for name in ("master.key", "operator.key", "tls/server.key", "tls/next.key"):
        assert mode(data / name) == 0o600, name


def test_the_root_key_is_in_its_file_and_nowhere_in_the_folder(plan, clock):
    folder.initialise(plan(), clock=clock)
    account, key = read_root_key(plan().root_key, passphrase=PASSPHRASE)
    assert account == "acme"
    secret = key.key.private_numbers().private_value.to_bytes(32, "big")
    for path in plan().data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret not in content
            assert PASSPHRASE.encode() not in content


def test_root_1_is_signed_by_the_root_key_of_the_file(plan, clock, open_folder):
    folder.initialise(plan(), clock=clock)
    _, key = read_root_key(plan().root_key, passphrase=PASSPHRASE)
    with open_folder(plan().data) as opened:
        state = TrustedState.from_bootstrap(opened.services.published.bootstrap("acme", "main"))
    assert list(state.root.roles["root"].keys) == [key.public.kid]


def test_an_online_root_key_is_flagged(opened):
    (account,) = opened.services.accounts.all()
    assert account.root_online


def test_config_1_carries_the_pins_and_the_ca_of_delivery(opened):
    bootstrap = opened.services.published.bootstrap("acme", "main")
    delivery = TrustedState.from_bootstrap(bootstrap).config.delivery
    assert delivery.pins.pins == opened.identity.pins
    assert delivery.ca == opened.identity.ca
    assert list(delivery.urls) == opened.settings.delivery_urls


def test_the_operator_key_is_an_admin_of_every_account(opened):
    text = (opened.data / "operator.key").read_text().strip()
    principal = opened.services.api_keys.verify(text)
    assert (principal.name, principal.role, principal.account) == ("operator", Role.ADMIN, None)


def test_an_empty_folder_is_taken(plan, clock):
    plan().data.mkdir()
    folder.initialise(plan(), clock=clock)
    assert (plan().data / "livepin.db").exists()


def test_missing_parents_are_made(plan, clock, tmp_path):
    folder.initialise(plan(data=tmp_path / "a" / "b" / "new"), clock=clock)
    assert (tmp_path / "a" / "b" / "new" / "livepin.toml").exists()


def test_a_folder_with_anything_in_it_is_left_alone(plan, clock, tmp_path):
    plan().data.mkdir()
    (plan().data / "mine").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already") as caught:
        folder.initialise(plan(), clock=clock)
    assert caught.value.hint == "name a new folder"
    assert [each.name for each in tmp_path.rglob("*")] == ["new", "mine"]


def test_a_file_of_that_name_is_left_alone(plan, clock):
    plan().data.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        folder.initialise(plan(), clock=clock)
    assert plan().data.read_text() == "mine"


def test_a_root_key_file_is_never_overwritten_or_removed(plan, clock):
    plan().root_key.write_text("the root key of another account")
    with pytest.raises(CustodyError, match="exists already"):
        folder.initialise(plan(), clock=clock)
    assert plan().root_key.read_text() == "the root key of another account"
    assert not plan().data.exists()


def test_a_root_key_file_that_appears_meanwhile_is_never_removed(plan, clock):
    def racing():
        plan().root_key.write_text("the root key of another account")
        return clock()

    with pytest.raises(CustodyError, match="exists already"):
        folder.initialise(plan(), clock=racing)
    assert plan().root_key.read_text() == "the root key of another account"
    assert not plan().data.exists()


@pytest.mark.parametrize("path", ["new/root.key", "new/a/root.key", "x/../new/root.key", "link/r"])
def test_a_root_key_inside_the_data_folder_is_refused(plan, clock, tmp_path, path):
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(ConfigurationError, match="must not be in the data folder"):
        folder.initialise(plan(root_key=tmp_path / path), clock=clock)
    assert not plan().data.exists()


def test_a_root_key_in_no_folder_is_refused(plan, clock, tmp_path):
    with pytest.raises(ConfigurationError, match="gone is not a folder"):
        folder.initialise(plan(root_key=tmp_path / "gone" / "root.key"), clock=clock)


BROKEN = {
    "no delivery host": {"settings": {"delivery_urls": ["http://pins.example.com"]}},
    "a bad recovery URL": {"settings": {"recovery_urls": ["ftp://cdn.example.com"]}},
    "no database": {"settings": {"database": "sqlite:////proc/livepin/livepin.db"}},
    "a bad account": {"account": "Not A Name"},
    "a short passphrase": {"passphrase": "short"},
    "no passphrase": {"passphrase": None},
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_init_that_fails_leaves_nothing_behind(plan, clock, tmp_path, what):
    with pytest.raises((LivepinError, ServiceError)) as caught:
        folder.initialise(plan(data=tmp_path / "a" / "new", **BROKEN[what]), clock=clock)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Stopped(BaseException):
    """Somebody pressed Ctrl-C."""


def count_of_steps(plan, clock, where):
    calls = []

    def counting():
        calls.append(1)
        return clock()

    folder.initialise(plan(data=where / "counted", root_key=where / "counted.key"), clock=counting)
    return len(calls)


def test_an_init_that_is_stopped_at_any_step_leaves_nothing_behind(plan, clock, tmp_path):
    (tmp_path / "count").mkdir()
    steps = count_of_steps(plan, clock, tmp_path / "count")
    shutil.rmtree(tmp_path / "count")
    assert steps >= 4
    for last in range(1, steps + 1):
        left = iter(range(last))

        def stopping(left=left, last=last):
            if next(left) == last - 1:
                raise Stopped
            return clock()

        with pytest.raises(Stopped):
            folder.initialise(plan(), clock=stopping)
        assert list(tmp_path.iterdir()) == [], f"step {last} of {steps}"


def test_an_empty_folder_stays_when_init_fails(plan, clock):
    plan().data.mkdir()
    with pytest.raises(CustodyError):
        folder.initialise(plan(passphrase="short"), clock=clock)
    assert list(plan().data.iterdir()) == []


def test_a_path_that_cannot_be_made_is_one_line(plan, clock, tmp_path):
    (tmp_path / "file").write_text("")
    for data in (tmp_path / "file" / "new", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigurationError, match=r"cannot make /.*: .+"):
            folder.initialise(plan(data=data), clock=clock)


def test_a_plan_does_not_show_its_passphrase(plan):
    assert PASSPHRASE not in repr(plan())


# -- opening -------------------------------------------------------------------------------------


def test_a_folder_without_settings_is_no_data_folder(tmp_path, open_folder):
    with pytest.raises(ConfigurationError, match="is not a Livepin data folder: No such") as caught:
        with open_folder(tmp_path):
            pass
    assert caught.value.hint == f"make one with: livepin init {tmp_path}"


def test_settings_that_are_not_text_are_one_line(data_folder, open_folder):
    (data_folder / "livepin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"^livepin\.toml: ") as caught:
        with open_folder(data_folder):
            pass
    assert caught.value.hint == "write it in UTF-8"


def test_variables_win_over_the_file(data_folder, open_folder):
    with open_folder(data_folder, LIVEPIN_LOG_LEVEL="debug") as opened:
        assert opened.settings.log_level == "debug"


@pytest.mark.parametrize("name", ["master.key", "tls/ca.pem", "tls/server.key", "tls/next.key"])
def test_a_missing_key_file_is_named(data_folder, open_folder, name):
    (data_folder / name).unlink()
    with pytest.raises(CustodyError, match=name), open_folder(data_folder):
        pass


@pytest.mark.parametrize("name", ["master.key", "tls/server.key", "tls/next.key"])
def test_a_key_file_that_others_can_read_is_refused(data_folder, open_folder, name):
    (data_folder / name).chmod(0o604)
    with pytest.raises(CustodyError, match="can be read by others"), open_folder(data_folder):
        pass


def test_the_master_key_may_come_from_the_environment(data_folder, open_folder, new_pin, intent):
    text = (data_folder / "master.key").read_text()
    (data_folder / "master.key").unlink()
    with open_folder(data_folder, LIVEPIN_MASTER_KEY=text) as opened:
        opened.services.publisher.republish("acme", "main", intent)


def test_an_empty_database_needs_an_upgrade_first(data_folder, clock):
    for path in data_folder.glob("livepin.db*"):
        path.unlink()
    with pytest.raises(SchemaError) as caught, folder.opened(data_folder, {}, clock=clock):
        pass
    assert caught.value.hint == "run: livepin upgrade"
    with folder.opened(data_folder, {}, clock=clock, upgrading=True):
        pass


def test_what_opening_refuses_leaves_no_file_open(data_folder, open_folder):
    (data_folder / "master.key").unlink()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(CustodyError), open_folder(data_folder):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


# -- new delivery keys ---------------------------------------------------------------------------


def test_new_delivery_keys_are_published_and_the_old_ones_kept(data_folder, clock, open_folder):
    with open_folder(data_folder) as opened:
        before, start = opened.identity, opened.services.published.bootstrap("acme", "main")
        clock.advance(hours=1)
        folder.renew_identity(opened, clock=clock)
    with open_folder(data_folder) as opened:
        after = opened.identity
        publication, raw = opened.services.published.version("acme", "main")
    state = TrustedState.from_bootstrap(start).advance_config(raw)
    assert not set(after.pins) & set(before.pins)
    assert state.config.delivery.pins.pins == after.pins
    assert state.config.delivery.ca == after.ca != before.ca
    assert publication.reason == "new delivery keys"
    assert publication.issued == dt.datetime(2026, 11, 23, 13, tzinfo=dt.timezone.utc)
    assert (data_folder / "tls.old" / "ca.pem").read_text() == before.ca
    assert not (data_folder / "tls.new").exists()


def test_delivery_keys_can_be_renewed_again_and_after_an_attempt_that_failed(
    data_folder, clock, open_folder
):
    (data_folder / "tls.new").mkdir()
    (data_folder / "tls.new" / "server.key").write_text("half")
    for _ in range(2):
        with open_folder(data_folder) as opened:
            folder.renew_identity(opened, clock=clock)
    with open_folder(data_folder) as opened:
        assert opened.services.published.version("acme", "main")[0].version == 3


def test_a_renewal_that_was_cut_off_between_its_renames_is_finished(
    data_folder, clock, open_folder
):
    with open_folder(data_folder) as opened:
        folder.renew_identity(opened, clock=clock)
    with open_folder(data_folder) as opened:
        renewed = opened.identity.pins
    (data_folder / "tls").rename(data_folder / "tls.new")
    with open_folder(data_folder) as opened:
        assert opened.identity.pins == renewed


def test_a_renewal_that_was_cut_off_before_its_renames_is_finished(data_folder, clock, open_folder):
    """The pins are published, so apps accept no other keys any more."""
    with open_folder(data_folder) as opened:
        folder.renew_identity(opened, clock=clock)
    with open_folder(data_folder) as opened:
        renewed = opened.identity.pins
    (data_folder / "tls").rename(data_folder / "tls.new")
    (data_folder / "tls.old").rename(data_folder / "tls")
    with open_folder(data_folder) as opened:
        assert opened.identity.pins == renewed
    assert not (data_folder / "tls.new").exists()


def test_a_renewal_that_was_cut_off_before_its_pins_were_published_changes_nothing(
    data_folder, clock, open_folder
):
    with open_folder(data_folder) as opened:
        before = opened.identity.pins
    tls_identity.create(data_folder / "tls.new", ["pins.example.com"], now=clock())
    with open_folder(data_folder) as opened:
        assert opened.identity.pins == before


def test_delivery_keys_are_renewed_in_every_account_or_in_none(data_folder, clock, open_folder):
    with open_folder(data_folder) as opened:
        accounts, key = opened.services.accounts, PrivateKey.generate()
        payload = accounts.prepare("beta", [dict(key.public.jwk())], INTENT)
        accounts.create("beta", sign_general(payload, typ=TYP, signers=[key]), INTENT)
        opened.services.database.write(
            lambda each: each.execute(
                delete(keys).where(keys.c.account == "beta", keys.c.role == "config")
            )
        )
        before = opened.identity.pins
        with pytest.raises(ConflictError, match="holds no config key"):
            folder.renew_identity(opened, clock=clock)
    with open_folder(data_folder) as opened:
        assert opened.identity.pins == before
        assert opened.services.published.delivery("acme").pins == pin_texts(before)
        assert opened.services.published.version("acme", "main")[0].version == 1


# -- API keys ------------------------------------------------------------------------------------


def test_the_last_uses_of_keys_are_kept_when_a_folder_is_closed(data_folder, open_folder, clock):
    key = (data_folder / "operator.key").read_text().strip()
    with open_folder(data_folder) as opened:
        opened.services.api_keys.verify(key, "192.0.2.7")
    with open_folder(data_folder) as opened:
        (operator,) = opened.services.api_keys.all()
    assert (operator.last_used, operator.last_used_from) == (clock(), "192.0.2.7")


def test_a_database_that_is_read_only_is_read_all_the_same(
    data_folder, open_folder, pragma, caplog
):
    key = (data_folder / "operator.key").read_text().strip()
    pragma("query_only=1")
    with open_folder(data_folder) as opened:
        assert opened.services.api_keys.verify(key, "192.0.2.7").name == "operator"
    assert caplog.messages == [
        "a change was refused: the database is read-only",
        "the last uses of API keys and installations are not kept: the database is read-only",
    ]


def test_a_new_operator_key_is_an_admin_of_everything_under_a_free_name(opened):
    api_keys = opened.services.api_keys
    before = (opened.data / "operator.key").read_text().strip()
    for name in ("operator-2", "operator-3"):
        assert folder.renew_operator_key(opened) == name
        found = api_keys.verify((opened.data / "operator.key").read_text().strip())
        assert (found.name, found.role, found.account, found.scopes) == (
            name, Role.ADMIN, None, None,
        )  # fmt: skip
    assert api_keys.verify(before).name == "operator"
    api_keys.revoke("operator", INTENT)
    assert folder.renew_operator_key(opened) == "operator"


# -- a token -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MODULE", "TOKEN"])
def test_half_of_a_token_is_a_mistake(data_folder, open_folder, name):
    environment = {f"LIVEPIN_PKCS11_{name}": "acme"}
    with pytest.raises(ConfigurationError, match="expected both pkcs11_module and pkcs11_token"):
        with open_folder(data_folder, **environment):
            pass


def test_a_server_whose_token_is_away_is_opened_and_delivers(data_folder, open_folder):
    environment = {"LIVEPIN_PKCS11_MODULE": "/nowhere.so", "LIVEPIN_PKCS11_TOKEN": "acme"}
    with open_folder(data_folder, **environment) as opened:
        assert opened.services.published.documents("acme").configs
        (said,) = opened.services.private_keys.warnings()
        assert said.startswith("the PKCS#11 module /nowhere.so cannot be used")
