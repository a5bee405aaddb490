"""Somebody who can write to the recovery copy puts an older config, or one of their own, there.

Apps never go back to it; the next export puts the newest in its place. What is newer under the
same trust stays, so a server that is behind cannot be used to take a config back either.
"""

from __future__ import annotations

import pytest
from livepin.errors import RollbackError, VerificationError
from livepin.jose import PrivateKey, sign_compact
from livepin.trust import TrustedState
from livepin_server.exports.static import Documents, export, target

MAIN = "v1/acme/config/main"


@pytest.fixture
def copy(tmp_path, services):
    """A folder that is exported to, and what exports to it."""
    folder = tmp_path / "www"
    folder.mkdir()

    def one():
        found = services.published.documents("acme")
        configs = {stream: each.raw for stream, each in found.configs.items()}
        documents = Documents(account="acme", roots=found.roots, configs=configs)
        return export(documents, target(str(folder), {}))

    one.file = folder / MAIN
    one.root = folder / "v1/acme/root/1"
    return one


def test_an_older_config_is_refused_by_apps_and_replaced_by_the_next_export(
    copy, services, add_domain
):
    copy()
    older = copy.file.read_bytes()
    add_domain()
    copy()
    app = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
    copy.file.write_bytes(older)  # the attacker's
    with pytest.raises(RollbackError):
        app.advance_config(copy.file.read_bytes())
    assert copy().written == [MAIN]
    assert app.advance_config(copy.file.read_bytes()) == app


@pytest.mark.parametrize("what", ["config", "root"])
def test_documents_of_the_attackers_are_refused_by_apps_and_replaced(copy, services, what):
    copy()
    app = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
    if what == "config":
        forged = sign_compact(
            app.trusted_config.payload, typ="livepin-config+jws", signer=PrivateKey.generate()
        )
        with pytest.raises(VerificationError):
            app.advance_config(forged)
        copy.file.write_bytes(forged)
        assert copy().strange == [MAIN]
    else:
        copy.root.write_bytes(b"{}")
        assert copy().strange == ["v1/acme/root/1"]
    assert app.advance_config(copy.file.read_bytes()) == app
    assert copy.root.read_bytes() == services.published.documents("acme").roots[1]


def test_a_server_that_is_behind_takes_nothing_back(copy, services, add_domain):
    found = services.published.documents("acme")
    add_domain()
    copy()
    newest = copy.file.read_bytes()
    behind = Documents(
        account="acme", roots=found.roots, configs={"main": found.configs["main"].raw}
    )
    outcome = export(behind, target(str(copy.file.parents[3]), {}))
    assert (outcome.newer, outcome.written) == ([MAIN], [])
    assert copy.file.read_bytes() == newest
