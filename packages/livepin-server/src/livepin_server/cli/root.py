"""livepin root show, prepare, publish and rotate: what speaks to the server about roots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from livepin import jsontext
from livepin.jose import PrivateKey, Signer, b64url_decode

from livepin_server.ceremony import changes
from livepin_server.ceremony.proposal import Proposal
from livepin_server.custody.public_file import read_public
from livepin_server.custody.root_file import write_root_key

from . import root_words
from .api import Api, Common, connected
from .output import (
    UNEXPECTED,
    UNREACHABLE,
    CommandError,
    day,
    days_until,
    minute,
    say,
    show_json,
    table,
    warn,
    working,
)
from .parameters import Reason
from .passphrases import PassphraseFile, new_passphrase
from .root_sign import File, Keys, Yes, open_keys, read_proposal, signed_by, write_proposal
from .tokens import InToken

_DEFAULTS = Common()
_NO_TOKEN = InToken()

ReplaceOnline = Annotated[
    bool, Parameter(help="Have the server make new keys of its own, which replace those of now.")
]
AddKeys = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--add-key", metavar="FILE.pub", help="The public half of a root key that comes."
    ),
]
RemoveKeys = Annotated[
    tuple[str, ...],
    Parameter(
        name="--remove-key",
        metavar="KID",
        allow_leading_hyphen=True,  # one thumbprint in 64 begins with one
        help="The thumbprint of a root key that goes.",
    ),
]
Threshold = Annotated[
    int | None,
    Parameter(
        metavar="N",
        validator=Number(gte=1, lte=32),
        help="How many root keys must sign; else as now.",
    ),
]
Days = Annotated[
    int,
    Parameter(metavar="N", validator=Number(gte=1, lte=36500), help="How long the root lives."),
]


def show(*, common: Common = _DEFAULTS) -> None:
    """Show the newest root: its keys, where they are, and until when it holds."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/root")
    if common.json:
        show_json(found)
        return
    left = days_until(datetime.fromisoformat(found["expires"]))
    say(f"root {found['version']} of {found['account']}", "bold")
    say(f"  issued    {minute(found['issued'])}")
    say(f"  expires   {day(found['expires'])}, in {left} days")
    say(f"  payload   sha256 {found['sha256']}")
    role = found["roles"]["root"]
    say(f"  to sign   {role['threshold']} of {len(role['keys'])} root keys sign the next one")
    rows = [
        (name, each["kid"], each["held"] or "not on the server")
        for name, role in found["roles"].items()
        for each in role["keys"]
    ]
    table(("role", "key", "where it is"), rows)
    for kid in found["prepared"]:
        say(f"prepared for a root that is not published: {kid}")
    for text in found["warnings"]:
        warn(text)


def prepare(
    *,
    replace_online: ReplaceOnline = False,
    add_key: AddKeys = (),
    remove_key: RemoveKeys = (),
    threshold: Threshold = None,
    days: Days = 1095,
    out: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="A new file for the proposal; else ACCOUNT-root-N.json."),
    ] = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Write a proposal of the next root to a file, to be signed where the root keys are.

    Nothing is in force before it is published. New keys of the server wait there until then.
    """
    body = _body(replace_online, add_key, remove_key, threshold, days, reason)
    with connected(common) as api:
        proposal = _prepared(api, body)
    file = out or Path(f"{proposal.root.account}-root-{proposal.root.version}.json")
    write_proposal(file, proposal, new=True)
    if common.json:
        show_json({"file": str(file), "version": proposal.root.version})
        return
    say(f"{file} proposes root {proposal.root.version} of {proposal.root.account}.", "green")
    say(root_words.still_missing(proposal))
    say("Carry it to a machine with a root key. There:")
    say(f"  livepin root sign {file} --key FILE")


def publish(
    file: File,
    /,
    *,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Publish a root that enough root keys have signed, and a config of every stream under it."""
    proposal = read_proposal(file)
    if proposal.missing:
        raise CommandError(
            f"{file} is not signed by enough keys. {root_words.still_missing(proposal)}",
            hint=f"livepin root sign {file} --key FILE",
        )
    _require_account(proposal, common.account)
    with connected(common) as api:
        done = _published(api, proposal, reason)
    _show_published(proposal, done, common)


def rotate(
    *,
    key: Keys = (),
    passphrase_file: PassphraseFile = None,
    in_token: InToken = _NO_TOKEN,
    root_key: Annotated[
        Path | None,
        Parameter(
            metavar="FILE", help="A new file: a root key made here replaces the one that signs."
        ),
    ] = None,
    replace_online: ReplaceOnline = False,
    add_key: AddKeys = (),
    remove_key: RemoveKeys = (),
    threshold: Threshold = None,
    days: Days = 1095,
    yes: Yes = False,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Prepare, sign and publish a root in one go, where the root keys are at hand.

    Where the root key is on the server, that signs, and no key is named. With --root-key such an
    account gets a root key that is not on the server any more.
    """
    if common.json and not yes:
        raise CommandError(
            "with --json nobody is shown what is signed", hint="to agree unseen: --yes"
        )
    body = _body(replace_online, add_key, remove_key, threshold, days, reason)
    with connected(common) as api:
        online = _held(api.call("GET", f"{api.base}/root"))
        signers = _signers(api, online, key, passphrase_file, in_token)
        fresh = None if root_key is None else _Fresh.made(root_key, passphrase_file)
        if fresh is not None:
            _exchange(body, fresh.key, [each.public.kid for each in signers] or online)
            signers.append(fresh.key)
        proposal = _prepared(api, body)
        proposal = signed_by(proposal, signers, here=online, yes=yes, quiet=common.json)
        if proposal.missing and online:
            document = {"payload": proposal.document()["payload"], "reason": reason}
            answer = api.call("POST", f"{api.base}/root/sign", document)
            proposal = proposal.merged(answer["document"])
        if proposal.missing:
            raise CommandError(
                "too few root keys are at hand. " + root_words.still_missing(proposal),
                hint="livepin root prepare, sign and publish go from machine to machine",
            )
        done = _published(api, proposal, reason, fresh)
    _show_published(proposal, done, common)
    if root_key is not None and not common.json:
        say(f"The new root key is in {root_key}, encrypted. Move it off this machine, to two safe")
        say("places: it is needed for the next root, and cannot be made again.")


def proposed(answer: dict[str, Any]) -> Proposal:
    """Return what the server prepared as a proposal; it is believed as far as it proves."""
    previous = answer.get("previous")
    raw = None if previous is None else jsontext.dump(previous)
    return Proposal.new(b64url_decode(answer["payload"].encode()), raw)


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A root key that was made here; its file is written once everything else is ready."""

    key: PrivateKey
    file: Path
    passphrase: str = field(repr=False)

    @classmethod
    def made(cls, file: Path, passphrase_file: Path | None) -> _Fresh:
        passphrase = new_passphrase(file, passphrase_file)
        return cls(PrivateKey.generate(), file, passphrase)


def _require_account(proposal: Proposal, account: str | None) -> None:
    if account not in (None, proposal.root.account):
        raise CommandError(
            f"the proposal is of the account {proposal.root.account}, not {account}",
            hint="is it the right file?",
        )


def _body(
    replace_online: bool,
    add_key: Sequence[Path],
    remove_key: Sequence[str],
    threshold: int | None,
    days: int,
    reason: str,
) -> dict[str, Any]:
    return {
        "replace_online": replace_online,
        "add_keys": [read_public(each) for each in add_key],
        "remove_keys": list(remove_key),
        "threshold": threshold,
        "days": days,
        "reason": reason,
    }


def _prepared(api: Api, body: dict[str, Any]) -> Proposal:
    return proposed(api.call("POST", f"{api.base}/root/prepare", body))


def _held(view: dict[str, Any]) -> list[str]:
    """Return the root keys that are on the server."""
    return [each["kid"] for each in view["roles"]["root"]["keys"] if each["held"]]


def _signers(
    api: Api,
    online: Sequence[str],
    files: Sequence[Path],
    passphrase_file: Path | None,
    in_token: InToken,
) -> list[Signer]:
    """Return the root keys that sign here: none are needed where one is on the server."""
    if online and not files and not in_token.is_said:
        return []
    return open_keys(api.account, files, passphrase_file, in_token)


def _exchange(body: dict[str, Any], fresh: PrivateKey, signing: Sequence[str]) -> None:
    """Have a new root key take the place of the one that signs."""
    body["add_keys"].append(fresh.public.jwk())
    if body["remove_keys"]:
        return
    if len(signing) != 1:
        raise CommandError(
            f"{len(signing)} root keys sign: which one is to go?", hint="--remove-key KID"
        )
    body["remove_keys"] = list(signing)


def _published(
    api: Api, proposal: Proposal, reason: str, fresh: _Fresh | None = None
) -> list[dict[str, Any]]:
    """Publish a root; return the config versions under it."""
    account, version = proposal.root.account, proposal.root.version
    if fresh is not None:
        with working("encrypting the root key"):
            write_root_key(fresh.file, fresh.key, account=account, passphrase=fresh.passphrase)
    document, path = proposal.document(), f"/v1/accounts/{account}/root"
    try:
        if version == 1:
            answer = api.call("PUT", path, {"document": document})
            return [answer["publication"]]
        body = {"document": document, "reason": reason}
        found: list[dict[str, Any]] = api.call("POST", f"{path}/publish", body)["items"]
        return found
    except CommandError as exc:
        # Without an answer the root may be there: then its key must not be lost.
        if fresh is not None and exc.code not in (UNREACHABLE, UNEXPECTED):
            fresh.file.unlink(missing_ok=True)
        raise


def _show_published(proposal: Proposal, done: list[dict[str, Any]], common: Common) -> None:
    if common.json:
        show_json(done)
        return
    root = proposal.root
    say(f"root {root.version} of {root.account} is published.", "green")
    for each in done:
        say(f"{each['stream']}: config version {each['version']}")
        for text in each["warnings"]:
            warn(text)
    if proposal.previous is None:
        return
    for line in changes.lines(proposal.previous.document, root):
        say(f"  {line}")
    say("The recovery URLs need it too, and the new configs. Apps that are built from now on embed")
    say(f"it: livepin bootstrap{common.again}")
