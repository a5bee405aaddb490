"""What needs attention: asked anew each time, and of one account only what is that account's."""

from livepin_server.telemetry.attention import Attention, Note


def test_sources_are_asked_each_time():
    attention, found = Attention(), [Note("the disk is full")]
    attention.add(lambda: found)
    attention.add(lambda: iter([Note("of acme", "acme"), Note("of beta", "beta")]))
    assert attention.texts() == ["the disk is full", "of acme", "of beta"]
    assert attention.texts("acme") == ["of acme"]
    found.clear()
    assert attention.texts() == ["of acme", "of beta"]
