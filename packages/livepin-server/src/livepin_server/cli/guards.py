"""livepin guards: what the publishes of an account are measured by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Changing, Common, connected
from .output import CommandError, say, show_json
from .parameters import Reason

app = App(name="guards")
_DEFAULTS = Common()
_CHANGING = Changing()


@app.command(help_epilogue="Example:\n  livepin guards show")
def show(*, common: Common = _DEFAULTS) -> None:
    """Show what the publishes of an account are measured by."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/guards")
    if common.json:
        show_json(found)
    else:
        _show(found)


@app.command(
    name="set",
    help_epilogue="""Examples:
  livepin guards set --most-domains 20
  livepin guards set --second-person on --reason 'two persons from now on'""",
)
def set_(
    *,
    most_domains: Annotated[
        int | None,
        Parameter(
            metavar="N",
            validator=Number(gte=1, lte=1_000_000),
            help="How many domains one publish may touch.",
        ),
    ] = None,
    second_person: Annotated[
        Literal["on", "off"] | None,
        Parameter(help="Whether changes are staged, and published by another API key."),
    ] = None,
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Change what the publishes of an account are measured by. What is not said stays.

    Where a second person is needed, this needs one, too.
    """
    body: dict[str, Any] = {"reason": reason}
    if most_domains is not None:
        body["most_domains"] = most_domains
    if second_person is not None:
        body["second_person"] = second_person == "on"
    if len(body) == 1:
        raise CommandError("there is nothing to change", hint="--most-domains, --second-person")
    with connected(common) as api:
        done = api.change("PUT", f"{api.base}/guards", body)
    if common.json:
        show_json(done)
    else:
        _show(done["guards"])


def _show(guards: dict[str, Any]) -> None:
    say(f"One publish touches at most {guards['most_domains']} domains.")
    if guards["second_person"]:
        say("Changes are staged, and published by another API key: livepin publish --approve")
    else:
        say("Whoever may change something publishes it alone.")
