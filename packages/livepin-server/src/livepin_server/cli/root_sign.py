"""livepin root new-key and sign: what runs where root keys are, on machines without a network.

Neither the web nor the database stack is needed here, and nothing of it may be imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from livepin.errors import MalformedError, VerificationError
from livepin.jose import PrivateKey, Signer

from livepin_server.ceremony.proposal import MOST, Proposal
from livepin_server.custody.public_file import write_public
from livepin_server.custody.root_file import read_root_key, write_root_key

from . import root_words
from .files import reason
from .output import CommandError, confirm, put, say, show_json, working
from .parameters import name_of
from .passphrases import PassphraseFile, new_passphrase, passphrase_of
from .tokens import InToken

_NO_TOKEN = InToken()

File = Annotated[Path, Parameter(name="FILE", help="A proposal, as livepin root prepare made it.")]
Json = Annotated[bool, Parameter(help="Print JSON.")]
Yes = Annotated[bool, Parameter(help="Do not ask before it is signed.")]
Keys = Annotated[
    tuple[Path, ...],
    Parameter(name="--key", metavar="FILE", help="A root key file; may be given again."),
]


def new_key(
    file: Annotated[Path, Parameter(name="FILE", help="A new file for the key, encrypted.")],
    /,
    *,
    account: Annotated[str, Parameter(metavar="NAME", help="The account that it is for.")],
    passphrase_file: PassphraseFile = None,
    in_token: InToken = _NO_TOKEN,
    json: Json = False,
) -> None:
    """Make a root key, on the machine where it is to stay, and its public half in FILE.pub.

    In a token it never leaves that, and only FILE.pub is written. Carry that to the server.
    """
    name_of("an account", account, such_as="acme")
    public = public_of(file)
    if public.exists():
        raise CommandError(f"{public} exists already", hint="name a new file")
    if in_token.is_said:
        token, label = in_token.opened()
        with working("making the key"):
            key: Signer = token.new(label, account=account, role="root")
        where = f"in the token {token.label}, as {label}"
    else:
        key = make_key_file(file, account, passphrase_file)
        where = f"in {file}, encrypted"
    write_public(public, key.public)
    if json:
        show_json({"kid": key.public.kid, "public": str(public), "account": account})
        return
    say(f"The root key {key.public.kid} is {where}.", "green")
    say(f"Its public half is in {public}: carry that to the server, where it is named by")
    say(f"  livepin root prepare --add-key {public} --account {account}")


def sign(
    file: File,
    /,
    *,
    key: Keys = (),
    passphrase_file: PassphraseFile = None,
    in_token: InToken = _NO_TOKEN,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Sign a proposed root, after showing in words what it says. The file is changed in place.

    It runs without network, server and database. With several root keys the file goes from one
    to the next, until enough have signed.
    """
    if json and not yes:
        raise CommandError(
            "with --json nobody is shown what is signed", hint="to agree unseen: --yes"
        )
    proposal = read_proposal(file)
    signers = open_keys(proposal.root.account, key, passphrase_file, in_token)
    signed = signed_by(proposal, signers, yes=yes, quiet=json)
    write_proposal(file, signed)
    if json:
        show_json(state(signed))
        return
    say(f"{file} is signed by {' and '.join(each.public.kid for each in signers)}.", "green")
    say(root_words.still_missing(signed))
    if not signed.missing:
        say("Carry it back to where the server is reached, then:")
        say(f"  livepin root publish {file}")


def signed_by(
    proposal: Proposal,
    signers: Sequence[Signer],
    *,
    yes: bool,
    quiet: bool = False,
    here: Sequence[str] = (),
) -> Proposal:
    """Return the proposal with one signature more for each key, once a person agrees.

    `here` are root keys on the server, which will sign after these.

    Raises:
        CommandError: nobody agrees. CustodyError: a key that does not count, or has signed.
    """
    kids = [each.public.kid for each in signers]
    for kid in kids:
        proposal.check_signer(kid)
    root_words.require_known(proposal, yes=yes)
    if not quiet:
        root_words.show(proposal, signing=[*kids, *here], now=datetime.now(timezone.utc))
    what = f"root {proposal.root.version} of {proposal.root.account} will be signed"
    confirm(what, yes=yes)
    for each in signers:
        proposal = proposal.signed(each)
    return proposal


def open_keys(
    account: str, files: Sequence[Path], passphrase_file: Path | None, in_token: InToken
) -> list[Signer]:
    """Return the root keys that were named, each of this account.

    Raises:
        CommandError: none was named. CustodyError: one does not open, or is another account's.
    """
    found: list[Signer] = []
    for file in files:
        passphrase = passphrase_of(file, passphrase_file)
        with working("opening the root key"):
            owner, key = read_root_key(file, passphrase=passphrase)
        if owner != account:
            raise CommandError(
                f"the root key in {file} is of the account {owner}, and this is a root of "
                f"{account}",
                hint="name the root key of that account",
            )
        found.append(key)
    if in_token.is_said:
        token, label = in_token.opened()
        with working("asking the token"):
            found.append(token.key(label, account=account, role="root"))
    if not found:
        raise CommandError(
            "expected a root key to sign with",
            hint="--key FILE; or --pkcs11-module FILE --token LABEL --label NAME",
        )
    return found


def make_key_file(file: Path, account: str, passphrase_file: Path | None) -> PrivateKey:
    """Make a root key, and write its file."""
    passphrase = new_passphrase(file, passphrase_file)
    key = PrivateKey.generate()
    with working("encrypting the root key"):
        write_root_key(file, key, account=account, passphrase=passphrase)
    return key


def public_of(file: Path) -> Path:
    """Return where the public half of a root key file is."""
    return file.with_name(f"{file.name}.pub")


def read_proposal(file: Path) -> Proposal:
    """Return the proposal in a file.

    Raises:
        CommandError: it cannot be read, or is none.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST + 1)
        return Proposal.parse(data)
    except OSError as exc:
        raise CommandError(
            f"cannot read {file}: {reason(exc)}", hint="livepin root prepare makes such a file"
        ) from exc
    except (MalformedError, VerificationError) as exc:
        raise CommandError(f"{file} cannot be signed: {exc}", hint=exc.hint) from exc


def write_proposal(file: Path, proposal: Proposal, *, new: bool = False) -> None:
    """Write a proposal, whole or not at all; a new one never over another file."""
    try:
        if new:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        put(file, proposal.to_bytes().decode())
    except FileExistsError as exc:
        raise CommandError(f"{file} exists already", hint="name a new file: --out FILE") from exc
    except OSError as exc:
        raise CommandError(f"cannot write {file}: {reason(exc)}") from exc


def state(proposal: Proposal) -> dict[str, object]:
    """Return where a proposal stands, for programs."""
    missing = proposal.missing
    return {
        "account": proposal.root.account,
        "version": proposal.root.version,
        "signed_by": list(proposal.signed_by),
        "missing": {"old": missing.old, "new": missing.new},
    }
