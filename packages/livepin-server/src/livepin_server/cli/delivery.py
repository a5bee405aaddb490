"""livepin delivery: where apps fetch their configs, and the keys of that channel."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from .api import Common, connected, data_folder
from .domain import Reason
from .output import CommandError, say, show_json, working

app = App(name="delivery", help="Where apps fetch their configs.")
_DEFAULTS = Common()

_Urls = Annotated[tuple[str, ...], Parameter(negative="")]


@app.command
def show(*, common: Common = _DEFAULTS) -> None:
    """Show the delivery URLs, pins and recovery URLs of an account."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/delivery")
    if common.json:
        show_json(found)
        return
    say(f"delivery   {', '.join(found['urls'])}")
    say(f"recovery   {', '.join(found['recovery_urls']) or 'none'}")
    say(f"pins       {', '.join(found['pins'])}")
    say(f"refreshed  every {found['refresh_interval']} s")


@app.command(name="set")
def set_(
    *,
    url: _Urls = (),
    recovery_url: _Urls = (),
    refresh_interval: Annotated[int | None, Parameter(help="Seconds.")] = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Change the delivery or recovery URLs; apps follow with their next config.

    Example: livepin delivery set --recovery-url https://cdn.example.net/livepin
    """
    body: dict[str, Any] = {"reason": reason}
    if url:
        body["urls"] = list(url)
    if recovery_url:
        body["recovery_urls"] = list(recovery_url)
    if refresh_interval is not None:
        body["refresh_interval"] = refresh_interval
    if len(body) == 1:
        raise CommandError("nothing to change", hint="--url, --recovery-url, --refresh-interval")
    with connected(common) as api:
        done = api.call("PUT", f"{api.base}/delivery", body)
    if common.json:
        show_json(done)
        return
    for each in done["items"]:
        say(f"{each['stream']}: config version {each['version']} carries the new settings")


@app.command
def renew_keys(*, common: Common = _DEFAULTS) -> None:
    """Give the delivery channel new keys, after a loss or a theft. The server must be stopped.

    Apps that hold the old pins get the new ones over a recovery URL.
    """
    from livepin_server.main import renew_delivery_keys

    with working("making keys"):
        renew_delivery_keys(data_folder(common))
    if common.json:
        show_json({"renewed": True})
    else:
        say("delivery has new keys; start the server again with: livepin serve")
