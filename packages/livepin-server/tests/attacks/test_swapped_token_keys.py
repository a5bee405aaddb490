"""Who can write the database has a key of the token sign for another account or role."""

import pytest
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, sign_general
from livepin_server import folder
from livepin_server.errors import CustodyError
from livepin_server.services.model import Intent, NextRoot
from livepin_server.storage.schema import keys
from sqlalchemy import select, update

INTENT = Intent(author="bob")


@pytest.fixture
def services(data_folder, soft_token, clock):
    """The accounts acme and beta, whose keys are in one token."""
    with folder.opened(data_folder, soft_token.environment, clock=clock) as opened:
        found = opened.services
        payload, _ = found.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
        found.roots.publish("acme", found.roots.sign("acme", payload, INTENT), INTENT)
        key = PrivateKey.generate()
        payload = found.accounts.prepare("beta", [dict(key.public.jwk())], INTENT)
        found.accounts.create("beta", sign_general(payload, typ=TYP, signers=[key]), INTENT)
        yield found


@pytest.fixture
def held(services):
    with services.database.reading() as connection:
        return {(row.account, row.role): row for row in connection.execute(select(keys))}


def plant(services, row, kept):
    statement = update(keys).where(keys.c.kid == row.kid).values(sealed=kept)
    services.database.write(lambda each: each.execute(statement))


@pytest.mark.parametrize("source", [("beta", "config"), ("acme", "override")], ids="-".join)
def test_a_key_of_another_account_or_role_signs_no_config(services, held, intent, source):
    before = services.published.version("acme", "main")
    plant(services, held["acme", "config"], held[source].sealed)
    with pytest.raises(CustodyError, match="is not the config key of acme"):
        services.publisher.republish("acme", "main", intent)
    assert services.published.version("acme", "main") == before


def test_a_row_that_claims_to_be_another_key_signs_no_config(services, held, intent):
    # Another config key of the same account, of a root that is being prepared.
    services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    with services.database.reading() as connection:
        rows = connection.execute(select(keys).where(keys.c.account == "acme")).all()
    (other,) = [r for r in rows if r.role == "config" and r.kid != held["acme", "config"].kid]
    plant(services, held["acme", "config"], other.sealed)
    with pytest.raises(CustodyError, match="is not the config key"):
        services.publisher.republish("acme", "main", intent)


def test_the_swap_back_signs_again(services, held, intent):
    row = held["acme", "config"]
    plant(services, row, held["beta", "config"].sealed)
    plant(services, row, row.sealed)
    assert services.publisher.republish("acme", "main", intent).root_version == 2
