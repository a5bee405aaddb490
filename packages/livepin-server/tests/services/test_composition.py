"""The composition: the services of one server share one database, bus and clock."""

from livepin.bootstrap import Bootstrap
from livepin.trust import TrustedState
from msgspec import structs


def test_the_services_share_one_database(services, add_domain):
    published = add_domain()
    (kept, _) = services.published.history("acme", "main")
    assert kept == structs.replace(published, warnings=[])
    assert [view.pattern for view in services.domains.all("acme")] == ["api.example.com"]


def test_a_client_trusts_what_the_services_publish(services, add_domain):
    start = services.published.bootstrap("acme", "main")
    assert isinstance(start, Bootstrap)
    add_domain()
    _, raw = services.published.version("acme", "main")
    state = TrustedState.from_bootstrap(start)
    assert state.advance_config(raw).config.version == 2
