"""What an entry says, and the exact bytes of it. Its size is bounded, whatever is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any, Literal

import msgspec
from livepin import jsontext
from msgspec import Struct

from livepin_server.services.model import Intent

SERVER = ""  # the account of what concerns the server itself

Action = Literal[
    "account.create",
    "account.prepare",
    "api-key.create",
    "api-key.revoke",
    "api-key.rotate",
    "app.add",
    "app.remove",
    "app.set",
    "backup.make",
    "channel.add",
    "channel.remove",
    "channel.retry",
    "channel.test",
    "config.export",
    "config.publish",
    "config.resign",
    "config.restore",
    "custody.rekey",
    "delivery.renew-keys",
    "delivery.set",
    "guards.set",
    "incident.acknowledge",
    "incident.snooze",
    "installation.block",
    "installation.force-fail",
    "installation.force-pass",
    "installation.tag",
    "installation.unblock",
    "installation.verdict",
    "login.blocked",
    "maintenance.add",
    "maintenance.end",
    "monitor.forget",
    "monitor.set",
    "override.create",
    "override.end",
    "policy.set",
    "probe",
    "release.add",
    "release.end",
    "root-key.keep",
    "root.prepare",
    "root.publish",
    "root.sign",
    "server.restore",
    "stage.add",
    "stage.approve",
    "stage.discard",
    "stage.fail",
    "stage.schedule",
    "stream.add",
    "token-key.add",
    "token-key.export",
    "token-key.rotate",
    "tokens.example",
    "tokens.set",
    "versions.raise",
]

_MOST = 4096  # bytes of `before`, and of `after`
_LONGEST = {"author": 200, "key_id": 100, "origin": 100, "reason": 500, "target": 300}


class Cut(Struct, frozen=True, kw_only=True):
    """What a member was before it was cut: its size as JSON, and the SHA-256 of that in hex."""

    bytes: int
    sha256: str


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action.

    `config` is the version that it published: that config carries the digest of this entry.
    `server` is the head of the server's own chain at that time, so that whatever proves this entry
    proves that, too. `cut` names the members that are not whole.
    """

    account: str
    action: str
    moment: datetime
    author: str
    key_id: str = ""
    origin: str = ""
    reason: str = ""
    target: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    config: int | None = None
    server: str | None = None
    cut: dict[str, Cut] | None = None


def entry_of(
    intent: Intent,
    *,
    account: str,
    action: Action,
    now: datetime,
    target: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    config: int | None = None,
) -> Entry:
    """Return the entry for what someone does; `account` is empty for the server itself.

    What is too large is cut, and the entry says so.
    """
    said = {
        "author": intent.author, "key_id": intent.key_id, "origin": intent.origin,
        "reason": intent.reason, "target": target, "before": before, "after": after,
    }  # fmt: skip
    whole = {name: _sound(msgspec.to_builtins(value)) for name, value in said.items()}
    kept = {name: _bounded(name, value) for name, value in whole.items()}
    cut = {name: _cut(value) for name, value in whole.items() if kept[name] != value}
    moment = now.astimezone(timezone.utc)
    return Entry(
        account=account, action=action, moment=moment, config=config, cut=cut or None, **kept
    )


def encode(entry: Entry) -> bytes:
    """Return the bytes of an entry: JSON in ASCII, on one line, that no terminal would obey."""
    return _json(msgspec.to_builtins(entry))


def decode(data: bytes) -> Entry:
    """Return the entry that these bytes are; members that a later version added are left out."""
    return msgspec.json.decode(data, type=Entry)


def _sound(value: Any) -> Any:
    """Return a value that JSON in UTF-8 can say: half a surrogate pair is written as its escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_sound(name): _sound(each) for name, each in value.items()}
    return [_sound(each) for each in value] if isinstance(value, list | tuple) else value


def _bounded(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value[: _LONGEST[name]]
    return value if value is None or len(_json(value)) <= _MOST else _fitting(value)


def _fitting(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members that fit, in their order; of a list its first elements."""
    kept, room = {}, _MOST
    for name, value in members.items():
        some = value
        if isinstance(value, list):
            some = _first(value, room - len(_json({name: []})))
        size = len(_json({name: some}))
        if size <= room and (some or not value):
            kept[name] = some
            room -= size
    return kept


def _first(listed: list[Any], room: int) -> list[Any]:
    for number, each in enumerate(listed):
        room -= len(_json(each)) + 1
        if room < 0:
            return listed[:number]
    return listed


def _cut(value: Any) -> Cut:
    whole = _json(value)
    return Cut(bytes=len(whole), sha256=sha256(whole).hexdigest())


def _json(value: Any) -> bytes:
    return jsontext.dump(value)
