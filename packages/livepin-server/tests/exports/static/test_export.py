"""Exports: what apps need, in the order they need it, and never an older config over a newer."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from types import SimpleNamespace

import pytest
from livepin.bootstrap import Bootstrap
from livepin.documents import config, root
from livepin.jose import PrivateKey, parse_compact, parse_general, sign_compact, sign_general
from livepin.trust import TrustedState
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.errors import ExportError
from livepin_server.exports.static import export, target
from livepin_server.exports.static.documents import CONFIG_CACHING, ROOT_CACHING
from livepin_server.exports.static.target import ChangedError
from livepin_server.services.model import NewStream
from livepin_server.storage.schema import keys
from sqlalchemy import select

MAIN, CANARY, ROOT_1, ROOT_2 = (
    "v1/acme/config/main", "v1/acme/config/canary", "v1/acme/root/1", "v1/acme/root/2",
)  # fmt: skip


@pytest.fixture
def sign(opened):
    """Sign variants of the documents with the keys of the data folder."""
    vault = load_master_key(opened.data / "master.key", None)
    with opened.services.database.reading() as connection:
        found = {
            row.role: vault.open(row.sealed, Label("acme", row.role, row.kid))
            for row in connection.execute(select(keys))
        }

    def one(raw, *, signer=None, **members):
        if raw.startswith(b"{"):
            payload = json.loads(parse_general(raw, typ=root.TYP).payload) | members
            signers = [signer or found["root"]]
            return sign_general(json.dumps(payload).encode(), typ=root.TYP, signers=signers)
        payload = json.loads(parse_compact(raw, typ=config.TYP).payload) | members
        signer = signer or found["config"]
        return sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=signer)

    return one


def test_everything_is_there_byte_for_byte_as_delivery_serves_it(
    place, documents, services, intent, add_domain
):
    services.streams.add("acme", NewStream(name="canary"), intent)
    add_domain()
    outcome = export(documents(), place.target)
    assert outcome.written == [ROOT_1, CANARY, MAIN]
    found = documents()
    assert place.get(ROOT_1) == found.roots[1]
    assert (place.get(MAIN), place.get(CANARY)) == (found.configs["main"], found.configs["canary"])
    start = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
    start.advance_config(place.get(MAIN))


def test_overrides_come_follow_each_other_and_go(place, documents):
    one, two = "v1/acme/override/one", "v1/acme/override/two"
    found = dataclasses.replace(documents(), overrides={"one": b"first", "two": b"other"})
    assert export(found, place.target).written == [ROOT_1, MAIN, one, two]
    if place.headers is not None:
        headers = place.headers(one)
        assert headers["content-type"] == "application/jose"
        assert headers["cache-control"] == "no-cache"
    found = dataclasses.replace(found, overrides={"one": b"second"}, gone={"two", "never"})
    outcome = export(found, place.target)
    assert (outcome.written, outcome.removed) == ([one], [two])
    assert (outcome.strange, outcome.left) == ([], [])
    assert (place.get(one), place.get(two)) == (b"second", None)


def test_types_and_caching_are_those_of_delivery(place, documents):
    export(documents(), place.target)
    if place.headers is None:
        return  # a web server sets them: docs/operations.md has them for nginx
    found = place.headers(MAIN)
    assert (found["content-type"], found["cache-control"]) == ("application/jose", CONFIG_CACHING)
    found = place.headers(ROOT_1)
    assert found["content-type"] == "application/jose+json"
    assert found["cache-control"] == ROOT_CACHING


def test_what_is_there_already_is_not_written_again(place, documents, add_domain):
    export(documents(), place.target)
    outcome = export(documents(), place.target)
    assert (outcome.written, outcome.unchanged) == ([], [ROOT_1, MAIN])
    add_domain()
    outcome = export(documents(), place.target)
    assert (outcome.written, outcome.unchanged) == ([MAIN], [ROOT_1])
    assert place.get(MAIN) == documents().configs["main"]


def test_a_newer_config_stays_whoever_put_it_there(place, documents, add_domain):
    before = documents()
    add_domain()
    export(documents(), place.target)
    outcome = export(before, place.target)
    assert (outcome.written, outcome.newer) == ([], [MAIN])
    assert place.get(MAIN) == documents().configs["main"]


def test_a_config_under_a_newer_root_that_we_do_not_know_yet_stays(place, documents, sign):
    """The other server published root 2; our copy of the documents is from a moment before."""
    before = documents()
    newer = dataclasses.replace(
        before,
        roots={**before.roots, 2: sign(before.roots[1], version=2)},
        configs={"main": sign(before.configs["main"], root_version=2, version=1)},
    )
    export(newer, place.target)
    outcome = export(before, place.target)
    assert (outcome.newer, outcome.written) == ([MAIN], [])
    assert place.get(MAIN) == newer.configs["main"]


def test_a_config_under_the_old_root_is_replaced_by_one_under_the_new(place, documents, sign):
    before = documents()
    export(before, place.target)
    other = PrivateKey.generate()
    roles = json.loads(parse_general(before.roots[1], typ=root.TYP).payload)["roles"]
    roles["config"]["keys"] = [dict(other.public.jwk())]
    newer = dataclasses.replace(
        before,
        roots={**before.roots, 2: sign(before.roots[1], version=2, roles=roles)},
        configs={"main": sign(before.configs["main"], signer=other, root_version=2)},
    )
    outcome = export(newer, place.target)
    assert (outcome.written, outcome.strange) == ([ROOT_2, MAIN], [])
    assert place.get(MAIN) == newer.configs["main"]


@pytest.mark.parametrize(
    "what", ["garbage", "nothing", "huge", "stranger", "beta", "lying root", "forged root"]
)
def test_what_clients_would_refuse_is_replaced_and_told(place, documents, sign, what):
    found = documents()
    raw, stranger = found.configs["main"], PrivateKey.generate()
    put = {
        "garbage": b"hello",
        "nothing": b"",
        "huge": b"x" * (config.MAX_SIZE + 2),
        "stranger": sign(raw, signer=stranger, version=10**6),
        "beta": sign(raw, account="beta", version=10**6),
        "lying root": sign(raw, root_version=9, version=10**6),
        "forged root": sign(raw, signer=stranger, root_version=2, version=10**6),
    }[what]
    if what == "forged root":
        place.put(ROOT_2, sign(found.roots[1], signer=stranger, version=2))
    place.put(MAIN, put)
    outcome = export(found, place.target)
    assert (outcome.strange, outcome.newer) == ([MAIN], [])
    assert place.get(MAIN) == raw


def test_a_root_that_is_another_is_replaced_and_told(place, documents):
    place.put(ROOT_1, b"another")
    outcome = export(documents(), place.target)
    assert (outcome.written, outcome.strange) == ([ROOT_1, MAIN], [ROOT_1])
    assert place.get(ROOT_1) == documents().roots[1]


# -- others who write too -------------------------------------------------------------------------


class Meddled:
    """A target in which somebody else writes between our look and our write."""

    def __init__(self, place, put, times=1):
        self.place, self.target, self.put, self.times = place, place.target, put, times
        self.name, self.working, self.read = "meddled", self.target.working, self.target.read

    def write(self, file, *, over):
        if file.path == MAIN and self.times:
            self.times -= 1
            self.put(over)
        self.target.write(file, over=over)


def arrive(documents, target, _over):
    """Write as another server."""
    export(documents, target)


def test_of_two_servers_none_leaves_an_older_config_behind(stores, reach, documents, add_domain):
    """Ours looked, found nothing, and was about to write when the other's newer one arrived."""
    for kind in ("s3", "az"):
        store = stores(kind)
        reach(store)
        before = documents()
        add_domain(f"{kind}.example.com")
        newer = documents()
        url = f"{store.scheme}://bucket/race-{kind}"
        ours, theirs = target(url, store.environment), target(url, store.environment)
        meddled = Meddled(SimpleNamespace(target=ours), partial(arrive, newer, theirs))
        outcome = export(before, meddled)
        assert (outcome.newer, outcome.written) == ([MAIN], [ROOT_1])
        assert store.get(f"race-{kind}", MAIN).content == newer.configs["main"]


def test_who_is_always_too_late_gives_up_for_now(place, documents):
    def changed(_over):
        raise ChangedError

    with pytest.raises(ExportError, match="others keep writing v1/acme/config/main"):
        export(documents(), Meddled(place, changed, times=99))


def test_roots_come_before_configs(place, documents, services, intent):
    """Whenever it is cut off, no config is there without its root."""
    services.streams.add("acme", NewStream(name="canary"), intent)
    export(documents(), place.target)
    order = []

    class Noted(Meddled):
        def write(self, file, *, over):
            order.append(file.path)

    fresh = dataclasses.replace(documents(), account="beta")
    export(fresh, Noted(place, None, times=0))
    assert order == ["v1/beta/root/1", "v1/beta/config/canary", "v1/beta/config/main"]


def test_an_app_that_reads_the_files_alone_gets_from_its_bootstrap_to_the_newest(
    place, documents, add_domain
):
    bootstrap = Bootstrap(root=documents().roots[1], config=documents().configs["main"])
    for number in range(3):
        add_domain(f"{number}.example.com")
        export(documents(), place.target)
    state = TrustedState.from_bootstrap(bootstrap)
    assert state.advance_config(place.get(MAIN)).config.version == 4
