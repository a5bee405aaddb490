"""livepin config export and raise: documents as files, and versions above those that apps hold."""

from __future__ import annotations

import os
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from livepin.documents.members import MAX_VERSION
from livepin.documents.members import name as check_name
from livepin.errors import LivepinError

from livepin_server.exports.static import Documents, export, target

from .api import Api, Common, connected
from .config import app
from .output import FOUND, CommandError, counted, say, show_json, warn, working
from .parameters import Reason

__all__ = ["app"]

_DEFAULTS = Common()


@app.command(
    name="export",
    help_epilogue="""Examples:
  livepin config export /srv/www/livepin
  livepin config export s3://bucket/prefix --stream main""",
)
def export_(
    target_: Annotated[
        str, Parameter(name="TARGET", help="A folder, or s3://, gs:// or az:// BUCKET/PREFIX.")
    ],
    /,
    *,
    stream: Annotated[
        str | None, Parameter(metavar="NAME", help="The stream of configs; else all.")
    ] = None,
    common: Common = _DEFAULTS,
) -> None:
    """Write the documents of an account as files, as delivery serves them: for a recovery URL.

    A newer config that is there stays. Credentials of a store come from the environment.
    """
    place = target(target_, os.environ)
    with connected(common) as api:
        names = [stream] if stream is not None else _streams(api)
        found = {name: api.call("GET", f"{api.base}/documents", stream=name) for name in names}
        account = api.account
    with working(f"writing to {place.name}"):
        done = export(_documents(account, found), place)
    if common.json:
        show_json({"target": place.name, "written": done.written, "unchanged": done.unchanged,
                   "newer": done.newer, "strange": done.strange})  # fmt: skip
    else:
        for path in done.written:
            say(f"+ {path}", "green")
        say(f"{place.name} has {counted(len(done.written), 'new file')}; "
            f"{len(done.unchanged)} unchanged")  # fmt: skip
    for path in done.strange:
        warn(f"{path} was there, and was not this account's: it was replaced")
    for path in done.newer:
        warn(f"{path} is newer there than here, and stays: is this server restored, or behind?")
    if done.newer:
        raise SystemExit(FOUND)


@app.command(
    name="raise",
    help_epilogue="Example:\n  livepin config raise 1042 --reason 'an older backup was put back'",
)
def raise_(
    version: Annotated[
        int,
        Parameter(
            name="VERSION",
            validator=Number(gte=1, lte=MAX_VERSION),
            help="A version that apps hold.",
        ),
    ],
    /,
    *,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Publish every stream again, with versions above one that apps hold.

    Where an older backup was put back by other means than livepin restore, which does it itself.
    """
    with connected(common) as api:
        body = {"above": version, "reason": reason}
        found = api.call("POST", f"{api.base}/versions", body)["items"]
    if common.json:
        show_json(found)
        return
    for each in found:
        say(f"{each['stream']} is published again, as config version {each['version']}.")


def _streams(api: Api) -> list[str]:
    return [each["name"] for each in api.call("GET", f"{api.base}/streams")]


def _documents(account: str, found: dict[str, Any]) -> Documents:
    """Return what the server answered, by stream; a name of it becomes a path, so it is one."""
    try:
        return Documents(
            account=check_name(account, what="an account"),
            roots={
                int(each["version"]): each["document"].encode()
                for answer in found.values()
                for each in answer["roots"]
            },
            configs={
                check_name(stream, what="a stream"): answer["document"].encode()
                for stream, answer in found.items()
            },
        )
    except (LivepinError, LookupError, TypeError, ValueError, AttributeError) as exc:
        raise CommandError(f"the server did not answer with documents: {exc}") from exc
