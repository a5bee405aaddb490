"""The judge as a whole: what it never does, whatever it is given."""

from __future__ import annotations

import random
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.pins import Pin, PinSet
from livepin_server.cli.app import app
from livepin_server.probing.probe import CertificateSeen
from livepin_server.services.monitoring.judging import judge
from livepin_server.services.monitoring.model import Elsewhere, Held, Judging, MonitorSettings
from minted_sights import (
    API,
    DAY,
    HERE,
    NOW,
    PLACE,
    V6,
    chain,
    following,
    found,
    healthy,
    held,
    holding,
    pin,
    refused,
    sight,
    silent,
    text,
    view,
)
from msgspec import structs

WRONG = {"pin_mismatch", "partial", "untrusted", "interception_suspected", "would_break"}
HEALTHY = 20_500  # for each kill of a run but the first: a million of them in `make torture`
FAILURES = [
    "no_address", "no_name_server", "refused", "reset", "timeout", "network", "tls",
    "no_certificate", "untrusted", None,
]  # fmt: skip

# -- no false alarms -------------------------------------------------------------------------------


@pytest.mark.torture
@pytest.mark.no_cover  # fifty thousand times the same lines
@pytest.mark.timeout(3600)
def test_healthy_endpoints_are_never_said_to_be_wrong(torture) -> None:
    count = HEALTHY * max(1, torture.kills - 1)
    for seen, by in healthy(torture.chance, count):
        wrong = [each for each in judge(PLACE, seen, by, now=NOW) if each.kind in WRONG]
        assert wrong == [], (seen, by)
    torture.count("looks", count)


def test_what_is_healthy_by_chance_is_not_all_alike() -> None:
    """Else the test above would say little."""
    some = list(healthy(random.Random(1), 200))
    sights = [each for seen, _ in some for each in seen.sights]
    assert {each.algorithm for each in sights} == {"ecdsa", "rsa"}
    assert any(not each.observation.verified for each in sights)
    assert any(not by.following[0].pins.timeless for _, by in some)


# -- whatever it is given --------------------------------------------------------------------------

TIMES = [NOW + each * DAY for each in (-400, -100, -1, 0, 0.01, 2, 20, 40, 400)]
MOMENTS = st.sampled_from(TIMES)
KEYS = st.sampled_from(["a", "b", "c", "ca", "root"])
TEXTS = st.sampled_from([None, "", "certificate has expired", "x: self-signed \x1b[2J", "é" * 999])
ODD = ["", "sha256/", "sha256/=", "ä", "sha256/AAAA"]  # that no engine writes
NAMES = ["", "O=", "CN=x,O=Acme\\, Inc.", "O=\x1b[2J\ud800", "x" * 5000]


def strange() -> list[CertificateSeen]:
    """Certificates of a few keys, with any texts and times in them, in a fixed order."""
    chance = random.Random(1)
    made = []
    for key in ["a", "b", "c", "ca", "root"] * 8:
        digest = chance.choice([text(key), text(key), text(key), chance.choice(ODD)])
        made.append(
            CertificateSeen(
                subject=chance.choice(NAMES), issuer=chance.choice(NAMES), key_type="EC",
                names=chance.choice([[], NAMES]), sha256=digest,
                not_before=chance.choice(TIMES), not_after=chance.choice(TIMES),
            )
        )  # fmt: skip
    return made


CHAINS = st.lists(st.sampled_from(strange()), max_size=2)


@st.composite
def helds(draw):
    """What a vantage holds of an endpoint, each address and algorithm once at most."""
    places = st.tuples(
        st.sampled_from([HERE, "192.0.2.8", V6, "", "socket"]), st.sampled_from(["ecdsa", "rsa"])
    )
    found = [
        sight(
            (), address, algorithm, since=draw(MOMENTS), moment=draw(MOMENTS),
            verified=draw(st.sampled_from([True, True, True, False])),
            chain=draw(CHAINS), presented=draw(CHAINS),
            failure=draw(st.sampled_from(FAILURES)), error=draw(TEXTS),
        )
        for address, algorithm in draw(st.lists(places, unique=True, max_size=4))
    ]  # fmt: skip
    whole = draw(st.sampled_from(FAILURES))
    return Held(sights=found, failure=None if found else whole, error=draw(TEXTS))


LIMITS = st.sampled_from([*[None] * 20, *TIMES])
PINS = st.builds(pin, KEYS, LIMITS, LIMITS) | st.just(Pin(None))
MODES = st.sampled_from(["enforce", "report", "off"])


@st.composite
def judgings(draw):
    """Domains of up to three streams, with pins and rows that need not fit each other."""
    by = []
    for stream in draw(st.lists(st.sampled_from(["main", "canary"]), unique=True, max_size=2)):
        rows = draw(st.lists(PINS.filter(lambda each: each.sha256 is not None), max_size=4))
        views = [
            view(
                each, backup=draw(st.booleans()), created=draw(MOMENTS),
                level=draw(st.sampled_from(["leaf", "intermediate", "root", None])),
            )
            for each in rows
        ]  # fmt: skip
        by.append(
            following(
                stream=stream, mode=draw(MODES), views=views,
                pins=PinSet(tuple(draw(st.lists(PINS, min_size=1, max_size=3)))),
                settings=MonitorSettings(lead=draw(st.integers(1, 365))),
            )
        )  # fmt: skip
    kept = [
        holding(
            *draw(st.lists(KEYS, max_size=2)), mode=draw(MODES),
            version=draw(st.none() | st.integers(1, 9)), stage=draw(st.none() | st.just(4)),
            at=draw(LIMITS), of=draw(st.integers(0, 9)), installations=draw(st.integers(0, 9)),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]  # fmt: skip
    served = draw(st.dictionaries(KEYS.map(text), MOMENTS, max_size=3))
    return Judging(following=by, holding=kept, served=served)


OTHERS = st.dictionaries(
    st.sampled_from(["b", "c"]),
    st.builds(Elsewhere, held=helds(), looked=st.none() | MOMENTS, alive=st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(helds(), judgings(), OTHERS, st.randoms())
def test_it_never_raises_and_order_decides_nothing(seen, by, others, chance) -> None:
    first = judge(PLACE, seen, by, now=NOW, others=others)
    again = list(seen.sights)
    chance.shuffle(again)
    moved = Held(sights=again, failure=seen.failure, error=seen.error)
    turned = Judging(following=by.following[::-1], holding=by.holding[::-1], served=by.served)
    back = dict(reversed(others.items()))
    assert judge(PLACE, moved, turned, now=NOW, others=back) == first
    assert len({each.key for each in first}) == len(first)
    for each in first:
        assert each.sentence.isprintable()
        assert len(each.sentence) < 2000
        assert max(len(each.key), len(each.cause)) <= 400
        assert shlex.split(each.command)[0] == "livepin"


@settings(max_examples=60, deadline=None)
@given(helds(), judgings())
def test_a_verified_path_with_a_pin_in_force_is_never_a_mismatch(seen, by) -> None:
    seen = held(*seen.sights, sight(chain("mine"), "192.0.2.99"))
    domains = [
        structs.replace(each, pins=PinSet((*each.pins.pins, pin("mine")))) for each in by.following
    ]
    by = structs.replace(by, following=domains)
    assert "pin_mismatch" not in {each.kind for each in judge(PLACE, seen, by, now=NOW)}


# -- commands --------------------------------------------------------------------------------------

MANY = following("old", stream="canary", pattern="*.example.com", created=NOW - 100 * DAY)


@pytest.mark.parametrize(
    ("seen", "by", "members"),
    [
        (sight(chain("new")), MANY, {}),
        (sight(chain("new", "new-ca")), following("ca", level="intermediate"), {}),
        (sight(chain("leaf")), following(pin("leaf", None, NOW), backups=()), {}),
        (refused(chain("leaf")[:1], "certificate has expired"), MANY, {}),
        (sight(chain("leaf", age=88, left=2)), following("leaf", stream="canary"), {}),
        (sight(chain("leaf")), following("leaf", "old", created=NOW - 100 * DAY), {}),
        (sight(chain("leaf")), following("leaf"), {"holding": [holding("x", of=2)]}),
        (
            sight(chain("leaf")),
            following("leaf"),
            {"holding": [holding("x", version=None, stage=4)]},
        ),
        (
            sight(chain("leaf")),
            following("leaf"),
            {"holding": [holding("x", version=None, stage=4, at=NOW)]},
        ),
    ],
)
def test_commands_are_those_that_there_are(seen, by, members) -> None:
    findings = found(seen, by, **members)
    assert findings
    for finding in findings:
        for step in finding.command.split(" && "):
            name, *words = shlex.split(step)
            assert name == "livepin"
            app.parse_args(words, exit_on_error=False, print_error=False)


# -- several streams -------------------------------------------------------------------------------


def test_each_stream_that_follows_a_host_has_its_own_findings() -> None:
    by = following("old"), following("old", stream="canary"), following("new", stream="third")
    findings = found(sight(chain("new")), *by)
    assert [each.key for each in findings] == [
        f"pin_mismatch:canary:{API}", f"pin_mismatch:main:{API}",
    ]  # fmt: skip
    assert len({each.cause for each in findings}) == 1
    assert findings[0].apps == "apps that follow canary"


def test_what_is_silent_is_silent_for_each_stream() -> None:
    by = following("old", mode="off"), following("old", stream="canary")
    findings = found(held(silent("timeout")), *by)
    assert [each.kind for each in findings] == ["unreachable"] * 2
    assert len({each.cause for each in findings}) == 1
