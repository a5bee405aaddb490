"""Looking at where configs are delivered: who is refused there is told, not who does not answer."""

from __future__ import annotations

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.jobs.watching import DeliveryWatch
from livepin_server.probing.many import look_here
from livepin_server.probing.probe import Observation
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange


@pytest.fixture
def delivering_at(services, intent):
    """Deliver at URLs, and with pins, from now on."""

    def one(*urls, **members):
        wanted = DeliveryChange(urls=[*urls], **members)
        services.publisher.publish("acme", [SetDelivery(wanted=wanted)], intent)

    return one


def texts(watch, account="acme"):
    assert all(each.account == account for each in watch.notes())
    return [each.text for each in watch.notes()]


def test_a_delivery_endpoint_with_a_key_that_is_not_pinned_is_told(services, delivering_at) -> None:
    """Somebody renewed the certificate of the balancer before it: no app gets a config any more."""
    chain = make_chain("localhost")
    with RecordingServer(chain) as server:
        url = f"https://localhost:{server.port}"
        delivering_at(url, ca=chain.authority.pem)
        watch = DeliveryWatch(services.published, look_here)
        watch.run()
        (text,) = texts(watch)
        assert text == (
            f"apps of acme are refused at {url}: none of the delivery pins matches its key, "
            f"{chain.pin}"
        )
        delivering_at(url, pins=[str(chain.pin)])
        watch.run()
        assert texts(watch) == []


def test_a_delivery_endpoint_whose_certificate_no_app_verifies_is_told(
    services, delivering_at
) -> None:
    chain = make_chain("localhost")
    with RecordingServer(chain) as server:
        delivering_at(f"https://localhost:{server.port}", pins=[str(chain.pin)])
        watch = DeliveryWatch(services.published, look_here)
        watch.run()
    (text,) = texts(watch)
    assert "the certificate is not valid for localhost by the given CA" in text


def test_an_endpoint_that_does_not_answer_is_no_reason_for_alarm(services) -> None:
    def look(targets):
        return {each: [Observation(host=each.host, port=443, error="no")] for each in targets}

    watch = DeliveryWatch(services.published, look)
    watch.run()
    assert texts(watch) == []
