"""What connections are judged by, against what was signed: data that was replaced in memory.

Functions are watched elsewhere (`livepin.evidence.functions`). Here the active config is compared
with the bytes that it came in, which are verified again by the rules, from the bootstrap on; and
what is remembered of it and of chains, with what it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from types import FunctionType

from livepin.bootstrap import Bootstrap
from livepin.certificates import spki_fingerprint
from livepin.documents import Config, Override, override
from livepin.errors import LivepinError
from livepin.hostnames import normalise
from livepin.jose import parse_compact
from livepin.pins import PinSet
from livepin.trust import TrustedState

from .clocks import Clock
from .judge import ConfigJudge
from .judging import Judging
from .trusted import Trusted


class Held:
    """Compares what a client holds with what was signed.

    `judgings` gives what judges its connections. With ten thousand domains it takes about as long
    as loading a config.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        trusted: Trusted,
        judge: ConfigJudge,
        judgings: Callable[[], Iterable[Judging]],
        *,
        clock: Clock,
    ) -> None:
        self._bootstrap = bootstrap
        self._trusted = trusted
        self._judge = judge
        self._judgings = judgings
        self._clock = clock
        self._signed: tuple[tuple[bytes, ...], bytes] = (), b""  # documents, and what they say

    def replaced(self) -> Iterator[str]:
        """Give what is not what was signed, or not made of it."""
        state = self._trusted()
        checks = {
            "the client": self._objects_hold,
            "the config": self._config_holds,
            "the override": _override_holds,
            "remembered pins": self._settled_hold,
            "remembered chains": self._chains_hold,
        }
        for what, check in checks.items():
            try:
                holds = check(state)
            except (AttributeError, LookupError, TypeError, ValueError, LivepinError):
                holds = False  # no document, or one that no rule would have accepted
            if not holds:
                yield f"data of {what}"

    def _objects_hold(self, _: TrustedState) -> bool:
        """Tell whether all is wired as it was, and no object has methods of its own."""
        judgings = tuple(self._judgings())
        wired = self._judge._trusted is self._trusted and all(
            each._judge is self._judge for each in judgings
        )
        return wired and not any(map(_hides_methods, (self._trusted, self._judge, *judgings)))

    def _config_holds(self, state: TrustedState) -> bool:
        documents = *(each.raw for each in state.roots), state.trusted_config.raw
        if documents != self._signed[0]:
            # Verified once: an override, which time ends, is looked at apart.
            stored = replace(state, trusted_override=None).dump()
            found = TrustedState.load(stored, self._bootstrap, now=self._clock())
            self._signed = documents, sha256(found.config.payload()).digest()
        said = sha256(Config.payload(state.config)).digest()
        return said == self._signed[1] and _is_consistent(state.config)

    def _settled_hold(self, state: TrustedState) -> bool:
        settled_by, settled = self._judge._settled
        if settled_by is not state:
            return True
        domains = ((state.lookup(host), pinned) for host, pinned in list(settled.items()))
        return all(
            domain is not None and PinSet(domain.pins.pins).unlimited == pinned
            for domain, pinned in domains
        )

    def _chains_hold(self, _: TrustedState) -> bool:
        return all(
            seen.host == normalise(name or "")
            and seen.leaf == spki_fingerprint(der or b"")
            and seen.chain[:1] in ((), (seen.leaf,))
            for judging in self._judgings()
            for (_scope, name, der), seen in list(judging._verified.items())
        )


def _hides_methods(found: object) -> bool:
    kinds = type(found).__mro__
    return any(
        isinstance(vars(kind).get(name), FunctionType) for name in vars(found) for kind in kinds
    )


def _override_holds(state: TrustedState) -> bool:
    active = state.trusted_override
    if active is None:
        return True
    jws = parse_compact(active.raw, typ=override.TYP)
    (signature,) = jws.signatures
    key = state.root.roles["override"].keys[signature.kid]
    return (
        signature.verified_by(key)
        and active.document == Override.parse(jws.payload)
        and _is_consistent(active.document)
    )


def _is_consistent(document: Config | Override) -> bool:
    """Tell whether what lookups go through is made of the document's own domains and pin sets."""
    by_pattern = {domain.pattern: domain for domain in document.domains}
    sets = document.pin_sets
    return (
        document._index == by_pattern
        and all(domain.pins is sets[domain.pin_set] for domain in document.domains)
        and all(map(_is_made_of_its_pins, sets.values()))
    )


def _is_made_of_its_pins(pin_set: PinSet) -> bool:
    fresh = PinSet(pin_set.pins)
    return all(getattr(fresh, name) == value for name, value in list(vars(pin_set).items()))
