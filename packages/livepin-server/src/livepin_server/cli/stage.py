"""livepin diff, publish and discard: changes that were staged, before apps see them."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from .api import Api, Common, Publishing, connected
from .output import REFUSED, CommandError, confirm, counted, minute, say, show_json, some, warn
from .parameters import Reason

_DEFAULTS = Common()
_PUBLISHING = Publishing()
_MOST_LINES = 50  # of a stream
_OF_ACCOUNT = {"delivery.set", "guards.set"}

Stage = Annotated[
    int | None, Parameter(name="STAGE", help="The number of a stage; else the open one.")
]


def diff(stage: Stage = None, /, *, common: Common = _DEFAULTS) -> None:
    """Show what publishing the staged changes would do now, and what there is to say against it.

    Nothing is published. The live endpoints are looked at by the server.
    """
    with connected(common) as api:
        found = _trial(api, stage)
    if common.json:
        show_json(found)
    else:
        _show(found)


def publish(
    stage: Stage = None,
    /,
    *,
    approve: Annotated[
        bool, Parameter(help="Publish what another person has staged, as the second one.")
    ] = False,
    reason: Reason = "",
    common: Publishing = _PUBLISHING,
) -> None:
    """Publish the staged changes together, now or --at a time.

    What is published is what is shown: if the stage changes meanwhile, it is refused.
    """
    with connected(common) as api:
        found = _trial(api, stage)
        if not common.json:
            _show(found)
        _refuse(found, force=common.force)
        asked = [
            finding["message"]
            for each in found["streams"]
            for finding in each["findings"]["to_confirm"]
        ]
        if approve:
            what = [counted(len(found["stage"]["changes"]), "change"), *found["changed"]]
            asked.insert(0, f"you approve {', '.join(what)}")
        if asked:
            confirm("; ".join(dict.fromkeys(asked)), yes=common.yes)
        number = found["stage"]["number"]
        done = api.change(
            "POST",
            f"{api.base}/stages/{number}/publish",
            {"reason": reason, "approve": approve},
            confirmed=bool(asked),
            expected=f'"{found["stage"]["revision"]}"',
        )
    if common.json:
        show_json(done)
        return
    for each in done["items"]:
        say(f"{each['stream']}: config version {each['version']} is published", "green")
    if done["stage"] is not None:
        _show_scheduled(done["stage"], common)
    elif not done["items"]:
        say("done; no config tells of it", "green")


def discard(stage: Stage = None, /, *, common: Common = _DEFAULTS) -> None:
    """Forget the staged changes. Nothing of them was published."""
    with connected(common) as api:
        found = api.call("DELETE", f"{api.base}/stages/{'open' if stage is None else stage}")
    if common.json:
        show_json(found)
        return
    say(f"{counted(len(found['changes']), 'change')} forgotten; nothing was published")


def show_stages(account: str, stages: list[dict[str, Any]], again: str) -> None:
    """Say what of an account waits to be published."""
    for each in stages:
        number = counted(len(each["changes"]), "change")
        authors = some(sorted({change["author"] for change in each["changes"]}))
        if each["failure"] is not None:
            continue  # it is among the warnings
        if each["at"] is None:
            say(f"{account}: {number} staged by {authors}, not published: livepin diff{again}")
        else:
            say(
                f"{account}: stage {each['number']}, {number} by {authors}, at {minute(each['at'])}"
            )
        for line in _of_account(each):
            say(f"  {line}", "yellow")


def _of_account(stage: dict[str, Any]) -> list[str]:
    """Return what a stage changes of the account as a whole, which no list of domains shows."""
    found = (each for each in stage["changes"] if each["action"] in _OF_ACCOUNT)
    return [line for each in found for line in each["changed"]]


def _trial(api: Api, stage: int | None) -> dict[str, Any]:
    number = "open" if stage is None else stage
    found: dict[str, Any] = api.call("GET", f"{api.base}/stages/{number}/trial")
    return found


def _show(found: dict[str, Any]) -> None:
    stage = found["stage"]
    for each in found["meanwhile"]:
        line = f"version {each['version']} of {each['stream']} by {each['author']}"
        say(f"published since: {line}: {'; '.join(each['changed'][:3])}")
    for change in stage["changes"]:
        why = f": {change['reason']}" if change["reason"] else ""
        say(f"{change['author']}, {minute(change['created'])}{why}")
    if found["changed"]:
        say(f"{stage['account']}, in no config:", style="bold")
    for line in found["changed"]:
        say(f"  {line}", "yellow")
    for each in found["streams"]:
        version = "its first" if each["version"] is None else f"after version {each['version']}"
        say(f"{each['stream']}, {version}:", style="bold")
        for line in each["changed"][:_MOST_LINES]:
            say(f"  {line}", {"+": "green", "-": "red"}.get(line[:1], ""))
        if len(each["changed"]) > _MOST_LINES:
            say(f"  and {len(each['changed']) - _MOST_LINES} more, which --json shows")
        findings = each["findings"]
        for finding in [*findings["to_confirm"], *findings["warnings"]]:
            warn(finding["message"])
        for finding in findings["refused"]:
            say(f"refused: {finding['message']}", "bold red")


def _refuse(found: dict[str, Any], *, force: bool) -> None:
    """End here with what the server would refuse."""
    for each in found["streams"]:
        for finding in each["findings"]["refused"]:
            if not (force and finding["forcible"]):
                raise CommandError(finding["message"], hint=finding["hint"], code=REFUSED)


def _show_scheduled(stage: dict[str, Any], common: Publishing) -> None:
    say(f"stage {stage['number']} is published at {minute(stage['at'])}", "green")
    if stage["approved_by"] is not None:
        say(f"approved by {stage['approved_by']}")
    say(f"To forget it: livepin discard {stage['number']}{common.again}")
