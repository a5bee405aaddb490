"""livepin app: which apps ask for tokens, and by what their evidence is known."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter

from .api import Api, Common, connected
from .identities import Identities
from .output import minute, say, show_json, table
from .parameters import Reason

_DEFAULTS = Common()
_NONE = Identities()

AppName = Annotated[str, Parameter(name="NAME", help="The name that the app gives itself.")]
Kind = Literal["android", "apple", "play", "workload"]


def add(
    name: AppName,
    /,
    *,
    identities: Identities = _NONE,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Register an app, under the name that it gives itself.

    The server then knows by what its evidence is to be verified. Keys are read from files.
    """
    body = {"name": name, "reason": reason, **identities.said()}
    with connected(common) as api:
        found = api.call("POST", f"{api.base}/apps", body)
    if common.json:
        show_json(found)
        return
    say(f"The app {name} is registered; it can prove {found['proves']}.", "green")
    if found["proves"] == "self":
        say("That is what it says of itself. Its releases, for one:")
        say(f"  livepin app release add {name} VERSION --manifest FILE{common.again}")
    else:
        say("Whether it must:")
        say(f"  livepin policy set --app {name}={found['proves']} --dry-run{common.again}")


def set_(
    name: AppName,
    /,
    *,
    identities: Identities = _NONE,
    remove: Annotated[
        tuple[Kind, ...], Parameter(metavar="KIND", help="An identity that ends.")
    ] = (),
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Replace identities of an app. Those of a kind that is not said stay.

    An identity is replaced whole, with its keys.
    """
    body = {"remove": [*remove], "reason": reason, **identities.said()}
    with connected(common) as api:
        found = api.call("PATCH", f"{at(api, name)}/identities", body)
    if common.json:
        show_json(found)
        return
    say(f"The app {name} is changed; it can prove {found['proves']}.", "green")


def list_(*, common: Common = _DEFAULTS) -> None:
    """Show the apps, and the highest level that each can prove."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/apps")
    if common.json:
        show_json(found)
        return
    if not found:
        say("No app is registered yet: livepin app add NAME")
        return
    table(("app", "proves", "known by", "releases"), [_line(each) for each in found])


def show(name: AppName, /, *, common: Common = _DEFAULTS) -> None:
    """Show one app: by what its evidence is known. Its keys are never shown."""
    with connected(common) as api:
        found = api.call("GET", at(api, name))
    if common.json:
        show_json(found)
        return
    say(found["name"], style="bold")
    say(f"  proves    {found['proves']}")
    say(f"  added     {minute(found['created'])}")
    say(f"  releases  {found['releases']} in force")
    for kind, identity in found["identities"].items():
        say(f"  {kind}")
        for member, value in identity.items():
            _member(member, value)


def remove(name: AppName, /, *, reason: Reason = "", common: Common = _DEFAULTS) -> None:
    """Remove an app with its releases. What the policy in force needs is refused."""
    with connected(common) as api:
        found = api.call("DELETE", at(api, name), reason=reason)
    if common.json:
        show_json(found)
        return
    say(f"The app {name} is removed, with its releases.", "green")


def at(api: Api, name: str) -> str:
    """Return the path of an app."""
    return f"{api.base}/apps/{quote(name, safe='')}"


def _line(found: dict[str, Any]) -> tuple[str, ...]:
    known = ", ".join(found["identities"]) or "nothing"
    return found["name"], found["proves"], known, str(found["releases"])


def _member(name: str, value: Any) -> None:
    """Say one member of an identity, if there is anything to say."""
    if value in (None, False, [], {}):
        return
    label = name.replace("_", " ")
    if name == "jwks":
        value = ", ".join(str(each.get("kid")) for each in value["keys"])
    elif name == "ca":
        value = "a private one"
    elif isinstance(value, dict):
        value = ", ".join(f"{claim}={text}" for claim, text in value.items())
    for each in value if isinstance(value, list) else [value]:
        say(f"    {label}: {'yes' if each is True else each}")
