"""Rule 5: account and stream are ours."""

from __future__ import annotations

from collections.abc import Iterator

from . import documents as d
from .case import Case, accepted, config_case, refusals, refused, start, start_refused, take


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield config_case(5, "ours", "Our account, our stream", d.config(2), accepted(1, 2))
    beta = start(d.bootstrap(config_raw=d.config(stream="beta")))
    yield config_case(
        5,
        "our-stream-is-another",
        "The stream that an app follows is the one of its bootstrap",
        d.config(2, stream="beta"),
        accepted(1, 2),
        begin=[beta],
    )
    yield config_case(5, "main-for-beta", "A config of main", d.config(2), begin=[beta])
    accounts = ("acme2", "acm", "acme-test", "other")
    raws = {name: d.config(2, account=name) for name in accounts}
    yield refusals(5, "config-account", "A config of another account", "config", raws)
    raws = {name: d.config(2, stream=name) for name in ("beta", "main2", "acme")}
    yield refusals(5, "config-stream", "A config of another stream", "config", raws)
    raws = {name: d.root(2, account=name) for name in accounts}
    yield refusals(5, "root-account", "A root of another account", "root", raws)
    raws = {name: d.override(account=name) for name in accounts}
    yield refusals(5, "override-account", "An override of another account", "override", raws)
    yield Case(
        rule=5,
        name="override-without-stream",
        title="An override belongs to no stream, whatever it says of one",
        steps=[
            beta,
            take("override", d.override(stream="main"), accepted(override=100, lookups={})),
        ],
    )
    yield Case(
        rule=5,
        name="refused-before-later-rules",
        title="Who is not ours is refused for that, not for its version",
        steps=[
            start(),
            take("config", d.config(1, account="other"), refused(5)),
            take("root", d.root(3, account="other", by=["root 1", "root 3"]), refused(5)),
            take(
                "override", d.override(account="other", root_version=9, by="override 1"), refused(5)
            ),
        ],
    )
    foreign = d.bootstrap(config_raw=d.config(account="other"))
    steps = [start_refused(5, foreign)]
    title = "A bootstrap whose root and config are of two accounts"
    yield Case(rule=5, name="bootstrap-account", title=title, steps=steps)
