"""The guard before every publish: a config that any client would refuse is not published."""

import base64
import os

import pytest
from livepin.jose import PrivateKey
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError
from livepin_server.storage.schema import accounts, configs, domains, pins
from sqlalchemy import delete, insert, select, update


@pytest.fixture
def refused(services, intent):
    """Expect that publishing is refused, and that no number, row or news comes of it."""

    def one(match, account="acme"):
        heard = []
        unsubscribe = services.bus.subscribe(heard.append)
        before = state(services)
        with pytest.raises(ConflictError, match=match) as caught:
            services.publisher.republish(account, "main", intent)
        unsubscribe()
        assert heard == []
        assert state(services) == before
        return caught.value.hint

    return one


def state(services):
    with services.database.reading() as connection:
        return [connection.execute(select(table)).all() for table in (accounts, configs)]


def change(services, statement):
    services.database.write(lambda each: each.execute(statement))


@pytest.mark.parametrize("pattern", ["*.com", "API.example.com", "https://api.example.com"])
def test_rows_that_make_no_good_config_are_not_published(services, add_domain, refused, pattern):
    add_domain()
    change(services, update(domains).values(pattern=pattern))
    assert refused("clients would refuse this config: rule 4") == "nothing was published"


def test_limits_that_no_client_reads_are_not_published(services, add_domain, refused):
    add_domain()
    earlier = services.clock().replace(year=1960)
    change(services, update(pins).values(not_before=earlier))
    assert refused(r"rule 4: .*not_before") == "nothing was published"


def test_a_counter_that_was_set_back_is_noticed(services, add_domain, refused):
    add_domain("a.example.com")
    add_domain("b.example.com")
    change(services, update(accounts).values(last_version=1))
    assert refused("rule 7: ") == "nothing was published"


def test_the_check_starts_from_the_oldest_config_too(services, add_domain, refused):
    # The newest would be followed; an app that was built on the day of the first would not.
    add_domain("a.example.com")
    change(services, update(accounts).values(last_version=9))
    change(
        services,
        update(configs).where(configs.c.version == 1).values(document=b"not a config"),
    )
    refused("clients would refuse this config")


def test_a_new_root_is_walked_to_by_every_client(services, beta, intent):
    start = TrustedState.from_bootstrap(services.published.bootstrap("beta", "main"))
    beta.add_root()
    beta.add_root()
    found = services.publisher.republish("beta", "main", intent)
    assert (found.root_version, found.version) == (3, 2)
    documents = services.published.documents("beta")
    walked = start.advance_root(documents.roots[2]).advance_root(documents.roots[3])
    assert walked.advance_config(documents.configs["main"].raw).order == (3, 2)


def test_a_root_that_the_old_one_did_not_sign_stops_publishing(beta, refused):
    beta.add_root(PrivateKey.generate())
    refused("rule 3", "beta")


def test_a_root_of_another_account_stops_publishing(beta, refused):
    beta.add_root(account="other")
    refused("rule 5", "beta")


def test_without_a_config_key_that_the_root_names_nothing_is_published(beta, refused):
    stranger = {"threshold": 1, "keys": [dict(PrivateKey.generate().public.jwk())]}
    roles = {
        "root": {"threshold": 1, "keys": [dict(beta.key.public.jwk())]},
        "config": stranger,
        "override": {"threshold": 1, "keys": [dict(PrivateKey.generate().public.jwk())]},
    }
    beta.add_root(roles=roles)
    hint = refused("holds no config key that root 2 of beta names", "beta")
    assert hint == "publish a new root that names the server's keys"


def test_the_first_config_of_a_stream_is_checked_by_itself(services, intent, add_stream):
    add_stream("canary")
    found = services.publisher.republish("acme", "canary", intent)
    assert found.version == 2
    start = services.published.bootstrap("acme", "canary")
    assert TrustedState.from_bootstrap(start).stream == "canary"


def test_a_stream_whose_configs_are_gone_begins_anew(services, intent):
    change(services, delete(configs))
    assert services.publisher.republish("acme", "main", intent).version == 2


def test_a_config_that_apps_would_not_unpack_is_refused(services, add_domain, intent):
    """Delivery sends it packed, and what is random packs badly."""
    add_domain()

    def change(connection, now):
        row = {
            "account": "acme", "stream": "main", "pin_set": "api.example.com", "label": "",
            "backup": False, "created": now, "author": "alice",
        }  # fmt: skip
        digests = [base64.b64encode(os.urandom(32)).decode() for _ in range(52_000)]
        connection.execute(insert(pins), [row | {"sha256": each} for each in digests])

    with pytest.raises(ConflictError, match="at most 2097152 bytes packed"):
        services.publisher.republish("acme", "main", intent, claim=change)
    assert services.published.version("acme", "main")[0].version == 2
