"""Restored accounts: above what was seen, with the roots that were found, signing if they can."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from livepin.documents.members import MAX_VERSION
from livepin.jose import PrivateKey
from livepin.trust import TrustedState
from livepin_server.backups import mark
from livepin_server.errors import BackupError, ConflictError
from livepin_server.services.numbering import HIGHEST, above_everything
from livepin_server.storage.schema import accounts
from sqlalchemy import select, update

MAIN = "v1/acme/config/main"
DAY = dt.timedelta(days=1)


@pytest.fixture
def lost(data_folder, signed, back_up, site, restore, clock):
    """A server that is lost a day after its backup, and a site with what is left of it."""
    back_up(data_folder)
    found = site()
    bound = above_everything(1, since=clock(), now=clock() + DAY)

    def one(**members):
        (account,) = restore(seen=(found.url,), at=clock() + DAY, **members).accounts
        return account

    return found, bound, one


def last_version(folder):
    with folder.services.database.reading() as connection:
        return connection.scalar(select(accounts.c.last_version))


def test_a_config_that_the_lost_server_made_is_below_anyhow(lost, signed, open_folder, tmp_path):
    site, bound, restored = lost
    site.put(MAIN, signed.config(version=bound))
    account = restored()
    assert (account.floor, account.foreign, account.signs) == (bound, None, True)
    with open_folder(tmp_path / "restored") as opened:
        assert last_version(opened) == bound


def test_a_config_that_it_cannot_have_made_is_gone_above_and_told(
    lost, signed, open_folder, tmp_path
):
    site, bound, restored = lost
    site.put(MAIN, signed.config(version=bound + 1))
    account = restored()
    assert (account.floor, account.foreign, account.signs) == (bound + 1, bound + 1, True)
    with open_folder(tmp_path / "restored") as opened:
        mark.go_on(opened)
        assert opened.services.published.history("acme", "main")[0].version == bound + 2
        (note,) = mark.notes(opened)
        assert note.account == "acme"
        assert f"config {bound + 1} of acme is signed by its key" in note.text
        mark.go_on(opened)  # at the next start
        assert len(opened.services.published.history("acme", "main")) == 2


@pytest.mark.parametrize("version", [MAX_VERSION, HIGHEST + 1])
def test_a_fast_forward_is_not_gone_above_but_asks_for_a_new_root(
    lost, signed, open_folder, tmp_path, version
):
    site, bound, restored = lost
    site.put(MAIN, signed.config(version=version))
    account = restored()
    assert (account.floor, account.foreign) == (bound, version)
    with open_folder(tmp_path / "restored") as opened:
        mark.go_on(opened)
        (note,) = mark.notes(opened)
        assert "new root: livepin root prepare" in note.text


def test_above_does_not_hide_that_somebody_else_signs(lost, signed):
    site, bound, restored = lost
    site.put(MAIN, signed.config(version=bound + 5))
    account = restored(above=bound + 1000)
    assert (account.floor, account.foreign) == (bound + 1000, bound + 5)


# -- a newer root --------------------------------------------------------------------------------


def test_a_newer_root_with_our_key_is_kept_and_published_under(lost, signed, open_folder, tmp_path):
    site, _, restored = lost
    site.put("v1/acme/root/2", signed.root(2))
    account = restored()
    assert (account.root_version, account.signs) == (2, True)
    with open_folder(tmp_path / "restored") as opened:
        mark.go_on(opened)
        newest = opened.services.published.history("acme", "main")[0]
        assert (newest.root_version, newest.version) == (2, account.floor + 1)
        assert not (tmp_path / "restored" / mark.FILE).exists()


def test_a_newer_root_without_our_key_stops_publishing_until_there_is_another(
    lost, signed, open_folder, tmp_path, intent
):
    site, _, restored = lost
    site.put("v1/acme/root/2", signed.root(2, config_key=PrivateKey.generate()))
    before = TrustedState.from_bootstrap(signed.opened.services.published.bootstrap("acme", "main"))
    account = restored()
    assert (account.root_version, account.signs, account.foreign) == (2, False, None)
    with open_folder(tmp_path / "restored") as opened:
        services = opened.services
        mark.go_on(opened)
        assert len(services.published.history("acme", "main")) == 1
        assert (tmp_path / "restored" / mark.FILE).exists()
        with pytest.raises(ConflictError, match="holds no config key that root 2"):
            services.versions.raise_above("acme", account.floor + 7, intent)
        assert services.accounts.unsigned() == [("acme", 2)]
        # The owner signs root 3, which names the key that the restored server has.
        type(signed)(opened).keep(3, type(signed)(opened).root(3))
        assert services.accounts.unsigned() == []
        mark.go_on(opened)
        documents = services.published.documents("acme")
        state = before.advance_root(documents.roots[2]).advance_root(documents.roots[3])
        state = state.advance_config(documents.configs["main"].raw)
        assert state.order == (3, account.floor + 1)
        assert not (tmp_path / "restored" / mark.FILE).exists()


def test_a_config_of_the_old_roots_thief_is_of_no_concern_under_the_new_root(lost, signed):
    """The new root is the cure: what the old key signs, nobody takes any more."""
    site, _, restored = lost
    site.put("v1/acme/root/2", signed.root(2))
    site.put(MAIN, signed.config(version=MAX_VERSION))
    account = restored()
    assert (account.root_version, account.foreign) == (2, None)


# -- the clock -----------------------------------------------------------------------------------


def test_a_clock_that_is_behind_a_document_is_refused_unless_a_version_is_given(
    lost, signed, clock, tmp_path
):
    site, _, restored = lost
    late = int((clock() + 3 * DAY).timestamp())
    site.put(MAIN, signed.config(version=2, issued=late, expires=late + 1000))
    with pytest.raises(BackupError, match=r"issued at 2026-11-26 12:00 UTC") as caught:
        restored()
    assert "set the clock" in caught.value.hint
    assert not (tmp_path / "restored").exists()
    assert restored(above=10**9).floor == 10**9


# -- where is looked, and what is kept ------------------------------------------------------------


def test_the_accounts_own_urls_are_looked_at_unless_offline(
    data_folder, open_folder, back_up, restore, site, clock, signed
):
    found = site()
    with open_folder(data_folder) as opened:
        delivery = json.dumps(
            {"urls": ["https://127.0.0.1:1"], "recovery_urls": [found.url], "pins": ["x"]}
        )
        opened.services.database.write(
            lambda each: each.execute(update(accounts).values(delivery=delivery))
        )
    back_up(data_folder)
    with pytest.raises(BackupError, match="does not say where acme delivers"):
        restore(offline=False)
    with open_folder(data_folder) as opened:
        good = delivery.replace('"x"', '"sha256/' + "A" * 43 + '="')
        opened.services.database.write(
            lambda each: each.execute(update(accounts).values(delivery=good))
        )
    back_up(data_folder)
    found.put(MAIN, signed.config(version=5))
    (account,) = restore(offline=False).accounts
    assert account.sightings.newer["main"].where == found.url
    assert [said.split(": ")[0] for said in account.sightings.said] == ["https://127.0.0.1:1"]


def test_what_it_exported_to_is_looked_at_too(
    data_folder, back_up, restore, signed, tmp_path, site
):
    copy, gone = tmp_path / "copy", tmp_path / "gone"
    text = (data_folder / "livepin.toml").read_text()
    (data_folder / "livepin.toml").write_text(
        text.replace("https://pins.example.com:8443", "https://127.0.0.1:1")
        + f'export = ["{copy}", "{gone}", "ftp://nowhere"]\n'
    )
    back_up(data_folder)
    (copy / "v1/acme/config").mkdir(parents=True)
    (copy / MAIN).write_bytes(signed.config(version=5))
    (account,) = restore(offline=False).accounts
    assert account.sightings.newer["main"].where == str(copy)
    assert "cannot look at ftp://nowhere" in str(account.sightings.said)


def test_newer_configs_are_kept_with_their_roots(lost, signed, tmp_path):
    site, _, restored = lost
    raw, root = signed.config(version=5, root_version=2), signed.root(2)
    site.put(MAIN, raw)
    site.put("v1/acme/root/2", root)
    restored(keep=tmp_path / "keep" / "here")
    kept = tmp_path / "keep" / "here"
    assert (kept / MAIN).read_bytes() == raw
    assert (kept / "v1/acme/root/2").read_bytes() == root
    assert (kept / "v1/acme/root/1").read_bytes() == signed.documents().roots[1]


def test_an_account_that_was_only_prepared_is_not_looked_for(
    data_folder, open_folder, back_up, restore, intent, tmp_path
):
    with open_folder(data_folder) as opened:
        key = PrivateKey.generate()
        opened.services.accounts.prepare("beta", [dict(key.public.jwk())], intent)
    back_up(data_folder)
    assert [each.name for each in restore().accounts] == ["acme"]
    with open_folder(tmp_path / "restored") as opened:
        mark.go_on(opened)
        assert not (tmp_path / "restored" / mark.FILE).exists()
