"""`unreachable` and `untrusted`: what goes wrong before pins count.

Who does not answer is never said to have wrong pins, and neither is a chain that does not verify.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address, ip_address

from livepin_server.probing.probe import CertificateSeen, Failure
from livepin_server.services.monitoring.model import Finding, Held, Severity, Sighted
from livepin_server.services.publishing.lasting import minute

from . import causes
from .case import Case, listed
from .mismatches import NAMES
from .seeing import addresses, in_order, leaf_keys, readable

_WORDS: dict[Failure, str] = {
    "no_address": "{name} has no address",
    "no_name_server": "no name server tells the address of {name}",
    "refused": "{name} refuses connections",
    "reset": "{name} closes connections before the handshake ends",
    "timeout": "{name} does not answer in time",
    "network": "there is no way to {name}",
    "tls": "{name} does not speak TLS as expected",
    "no_certificate": "{name} has no certificate for any client",
}
_NO_WORDS = "{name} does not answer"
_NOTHING_BACK = ("timeout", "network", "no_name_server")
_SOME: Severity = "warning"
_IPV6: Severity = "info"  # of a vantage that has none
_OF_NO_PINS = "which says nothing about pins"
_REASONS = (  # what OpenSSL says, in its own words, and what that is
    # These repeat the host, which may be called anything, so they come first.
    ("hostname mismatch", "name-mismatch"),
    ("ip address mismatch", "name-mismatch"),
    ("expired", "expired"),
    ("not yet valid", "not-yet-valid"),
    ("self-signed certificate in", "unknown-issuer"),
    ("self signed certificate in", "unknown-issuer"),
    ("self-signed", "self-signed"),
    ("self signed", "self-signed"),
    ("issuer certificate", "unknown-issuer"),
    ("first certificate", "unknown-issuer"),
    ("revoked", "revoked"),
)
_CURES = {
    "expired": "renew it",
    "not-yet-valid": "see whether the clock there is right",
    "name-mismatch": "let the server present the one for this name",
    "self-signed": "let an issuer sign it, or name its CA to the domain",
    "incomplete-chain": "let the server send the whole chain, or name its CA to the domain",
    "unknown-issuer": "let the server present one by an issuer that apps trust",
    "revoked": "replace it",
}


def unreachable(case: Case, held: Held) -> Iterator[Finding]:
    """Say that nothing answers, or not at each address."""
    silent = in_order(case.seen.silent)
    if case.seen.verified or case.seen.untrusted:
        yield _at_some(case, held, silent)
        return
    failure, said = _failure(held, silent)
    apps = f"{case.following.apps} may not get in either"
    yield case.finding(
        "unreachable",
        _code(failure),
        "warning" if failure == "no_name_server" else "critical",
        f"{_words(failure, case.place.name)}, {_OF_NO_PINS}: {apps}{said}",
        cause=_cause(case, silent, failure),
        command=case.run(),
        sights=silent,
    )


def _at_some(case: Case, held: Held, silent: Sequence[Sighted]) -> Finding:
    failure, said = _failure(held, silent)
    vantage, where = case.place.vantage, addresses(silent)
    name = f"{case.place.name} at {listed(where)}"
    code, severity, cause = _code(failure), _SOME, _cause_at(case, where)
    sentence = f"{_words(failure, name)}, {_OF_NO_PINS}; it answers at other addresses{said}"
    if _is_only_ipv6(case, silent):
        code, severity, cause = "no-ipv6", _IPV6, causes.unrouted(vantage)
        sentence = f"from {vantage} there is no way by IPv6, as to {name}, {_OF_NO_PINS}"
    return case.finding(
        "unreachable", code, severity, sentence, cause=cause, command=case.run(), sights=silent
    )


def untrusted(case: Case) -> Iterator[Finding]:
    """Say that a chain does not verify: apps refuse it in every mode, for TLS itself does."""
    refused = in_order(case.seen.untrusted)
    if not refused:
        return
    code, why = _reason(refused[0], case)
    what, there = _which(case, refused)
    cure = _CURES.get(code)
    yield case.finding(
        "untrusted",
        code,
        "critical",
        f"{what} is not trusted, {why}: {case.following.apps}{there} are refused, whatever is "
        f"pinned{'' if cure is None else f'; {cure}'}",
        cause=_cause_of_refusal(case, refused[0], code),
        command=case.check(),
        sights=refused,
        fingerprints=leaf_keys(refused),
    )


def _which(case: Case, refused: Sequence[Sighted]) -> tuple[str, str]:
    """Return what is not trusted, and which apps see it, in words."""
    name, kinds = case.place.name, {each.algorithm for each in refused}
    if not (case.seen.verified or case.seen.silent):
        return f"the certificate of {name}", ""
    if len(kinds) == 1 and kinds.isdisjoint(each.algorithm for each in case.seen.verified):
        kind = NAMES[kinds.pop()]
        return f"the {kind} certificate of {name}", f" and prefer {kind}"
    return f"the certificate of {name} at {listed(addresses(refused))}", " and get there"


def _cause_of_refusal(case: Case, refused: Sighted, code: str) -> str:
    presented = refused.observation.presented
    ended = _ended(presented, case) if code == "expired" else None
    if ended is not None:
        return causes.expiry(presented, ended)
    return causes.untrusted(code, presented, case.place.host)


def _failure(held: Held, silent: Sequence[Sighted]) -> tuple[Failure | None, str]:
    """Return what is wrong, of several what the first address says, and the words for it."""
    failure, error = held.failure, held.error
    if silent:
        told = [each for each in silent if each.observation.failure != "no_certificate"]
        first = (told or silent)[0].observation
        failure, error = first.failure, first.error
    said = readable(error)
    return failure, f" ({said})" if said else ""


def _code(failure: Failure | None) -> str:
    return (failure or "silent").replace("_", "-")


def _words(failure: Failure | None, name: str) -> str:
    return (_NO_WORDS if failure is None else _WORDS.get(failure, _NO_WORDS)).format(name=name)


def _cause(case: Case, silent: Sequence[Sighted], failure: Failure | None) -> str:
    if failure == "no_address":
        return causes.nameless(case.place.host)
    if failure is None or failure in _NOTHING_BACK:
        return causes.unseen(case.place.vantage)
    return _cause_at(case, addresses(silent))


def _cause_at(case: Case, where: Sequence[str]) -> str:
    return causes.refusing(case.place.vantage, where[0] if where else case.place.host)


def _is_only_ipv6(case: Case, silent: Sequence[Sighted]) -> bool:
    """Tell whether a vantage has no IPv6, which is told once and not for each host."""
    answers = [*case.seen.verified, *case.seen.untrusted]
    return all(each.observation.failure == "network" and _is_ipv6(each) for each in silent) and (
        not any(map(_is_ipv6, answers))
    )


def _is_ipv6(sight: Sighted) -> bool:
    try:
        return isinstance(ip_address(sight.address), IPv6Address)
    except ValueError:
        return False


def _reason(sight: Sighted, case: Case) -> tuple[str, str]:
    """Return the code of why a chain does not verify, and that in words."""
    seen = sight.observation
    said = readable((seen.error or "").partition(": ")[2] or seen.error)
    known = (code for words, code in _REASONS if words in said.lower())
    code = next(known, "not-verified")
    if not seen.presented:
        return code, said or "for no reason that was told"
    own = seen.presented[0]
    if code == "expired" and (ended := _ended(seen.presented, case)) is not None:
        of = "it" if ended is own else f"that of an issuer, {readable(ended.subject)},"
        return code, f"for {of} expired at {minute(ended.not_after)}"
    if code == "name-mismatch":
        names = listed([readable(each) for each in own.names]) if own.names else "no name"
        return code, f"for it is made for {names}"
    if code == "unknown-issuer":
        alone = len(seen.presented) == 1 and own.subject != own.issuer
        return _issuer_missing(own) if alone else (code, f"for no root is known to it ({said})")
    return code, {
        "not-yet-valid": f"for it counts from {minute(own.not_before)} on",
        "self-signed": "for it is signed by itself",
        "revoked": "for it is revoked",
    }.get(code, said or "for no reason that was told")


def _issuer_missing(own: CertificateSeen) -> tuple[str, str]:
    return "incomplete-chain", f"for it is sent without that of its issuer, {readable(own.issuer)}"


def _ended(presented: Sequence[CertificateSeen], case: Case) -> CertificateSeen | None:
    return next((each for each in presented if each.not_after <= case.now), None)
