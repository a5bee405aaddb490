"""Proposals of roots: the file that a signer is given, and a payload that it asks them to sign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone

from livepin.errors import MalformedError, VerificationError
from livepin_server.ceremony import changes
from livepin_server.ceremony.proposal import FORMAT, Proposal

from vectors.source import documents as good
from vectors.source.keys import compact_json

from .target import Target

_NOW = datetime.fromtimestamp(good.T0 + good.HOUR, timezone.utc)
_PREVIOUS = good.root(1)


def _file(data: bytes) -> None:
    try:
        found = Proposal.parse(data)
    except (MalformedError, VerificationError):
        return
    assert Proposal.parse(found.to_bytes()) == found
    assert len({*found.signed_by}) == len(found.signed_by) == len(found.signatures)
    _said(found)


def _payload(payload: bytes) -> None:
    try:
        found = Proposal.new(payload, _PREVIOUS.encode())
    except (MalformedError, VerificationError):
        return
    _said(found)


def _said(found: Proposal) -> None:
    """Put it into words, of which none may fail: each key is in them, each unknown member too."""
    before = None if found.previous is None else found.previous.document
    said = changes.key_changes(before, found.root)
    named = {kid for role in found.root.roles.values() for kid in role.keys}
    assert named <= {each.kid for each in said if each.how != "goes"}
    assert all(isinstance(each, str) for each in changes.unknown(found.payload))
    changes.warnings(before, found.root, now=_NOW)
    if before is not None:
        changes.lines(before, found.root)


def _files() -> Iterator[bytes]:
    payload = compact_json(good.root_payload(2))
    for by in ([], ["root 1"], ["root 1", "root 2"]):
        signatures = [good.signature(payload, name) for name in by]
        signed = json.loads(good.general(payload, signatures))
        yield json.dumps({"format": FORMAT, **signed, "previous": json.loads(_PREVIOUS)}).encode()


def _payloads() -> Iterator[bytes]:
    yield compact_json(good.root_payload(2))
    yield compact_json(good.root_payload(2, note="x", critical=[]))


TARGETS = {
    "proposal": Target(run=_file, seeds=_files, json=True),
    "proposed_root": Target(run=_payload, seeds=_payloads, json=True),
}
