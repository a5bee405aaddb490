"""The composition: the services of one server share one database, bus and clock."""

from livepin.bootstrap import Bootstrap
from livepin.trust import TrustedState


def test_the_services_share_one_database(services, add_domain):
    published = add_domain()
    assert services.publisher.history("acme", "main")[0] == published
    assert [view.pattern for view in services.domains.all("acme")] == ["api.example.com"]


def test_a_client_trusts_what_the_services_publish(services, add_domain):
    start = services.publisher.bootstrap("acme", "main")
    assert isinstance(start, Bootstrap)
    add_domain()
    _, raw = services.publisher.version("acme", "main")
    state = TrustedState.from_bootstrap(start)
    assert state.advance_config(raw).config.version == 2
