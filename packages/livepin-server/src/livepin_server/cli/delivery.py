"""livepin delivery: where apps fetch their configs, and the keys of that channel."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from cyclopts import App, Parameter
from cyclopts.validators import Number
from livepin.documents.config import check_url
from livepin.errors import MalformedError

from livepin_server.probing.judge import judge_delivery
from livepin_server.probing.probe import probe

from .api import Api, Changing, Common, Local, connected, data_folder, opening
from .looking import target
from .output import (
    FOUND,
    REFUSED,
    UNREACHABLE,
    CommandError,
    say,
    show_json,
    working,
)
from .parameters import Reason

app = App(name="delivery")
_DEFAULTS = Common()
_CHANGING = Changing()
_LOCAL = Local()

Urls = Annotated[
    tuple[str, ...],
    Parameter(metavar="URL", help="Public base URL of delivery; may be given again."),
]
RecoveryUrls = Annotated[
    tuple[str, ...],
    Parameter(metavar="URL", help="Where else the documents lie; may be given again."),
]


@app.command(help_epilogue="Example:\n  livepin delivery show")
def show(*, common: Common = _DEFAULTS) -> None:
    """Show the delivery URLs, pins and recovery URLs of an account."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/delivery")
    if common.json:
        show_json(found)
        return
    _show_all("delivery", found["urls"])
    _show_all("recovery", found["recovery_urls"] or ["none"])
    _show_all("pins", found["pins"])
    say(f"{'refreshed':10} every {found['refresh_interval']} s")


@app.command(
    name="set",
    help_epilogue="""Examples:
  livepin delivery set --recovery-url https://cdn.example.net/livepin
  livepin delivery set --refresh-interval 60""",
)
def set_(
    *,
    url: Urls = (),
    recovery_url: RecoveryUrls = (),
    no_recovery: Annotated[bool, Parameter(help="Have no recovery URL.")] = False,
    refresh_interval: Annotated[
        int | None,
        Parameter(
            metavar="SECONDS", validator=Number(gte=1, lte=604800), help="How often apps look."
        ),
    ] = None,
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Change the delivery or recovery URLs; apps follow with their next config.

    What is not said stays. The server looks at delivery URLs as apps will look at them.
    """
    if recovery_url and no_recovery:
        raise CommandError(
            "expected --recovery-url or --no-recovery, found both",
            hint="livepin delivery set --help",
        )
    check_urls(url, recovery_url)
    body: dict[str, Any] = {"reason": reason}
    if url:
        body["urls"] = list(url)
    if recovery_url or no_recovery:
        body["recovery_urls"] = list(recovery_url)
    if refresh_interval is not None:
        body["refresh_interval"] = refresh_interval
    if len(body) == 1:
        raise CommandError(
            "there is nothing to change",
            hint="--url, --recovery-url, --no-recovery, --refresh-interval",
        )
    with connected(common) as api:
        done = api.change("PUT", f"{api.base}/delivery", body)
    if common.json:
        show_json(done)
        return
    for each in done["items"]:
        say(f"{each['stream']}: config version {each['version']} carries the new settings")


@app.command(help_epilogue="Example:\n  livepin delivery check")
def check(*, common: Common = _DEFAULTS) -> None:
    """Look at the delivery URLs from here as apps do: by their CA and their pins.

    The exit code is 1 if apps would refuse one, else 4 if one does not answer.
    """
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/delivery")
    results = [{"url": url, **_judged(url, found)} for url in found["urls"]]
    if common.json:
        show_json(results)
    for each in [] if common.json else results:
        say(f"{each['url']}: {each['summary']}", "green" if each["passes"] else "bold red")
    if any(each["answers"] and not each["passes"] for each in results):
        raise SystemExit(FOUND)
    if not all(each["passes"] for each in results):
        raise SystemExit(UNREACHABLE)


@app.command(help_epilogue="Example:\n  livepin delivery renew-keys")
def renew_keys(
    *,
    without_recovery: Annotated[
        bool, Parameter(help="Do so although apps without a recovery URL are cut off.")
    ] = False,
    local: Local = _LOCAL,
) -> None:
    """Give the delivery channel new keys, after a loss or a theft. The server must be stopped.

    Apps that hold the old pins get the new ones over a recovery URL.
    """
    data = data_folder(local)
    if not without_recovery:
        _require_recovery(data, local.again)
    with opening(data), working("making keys"):
        from livepin_server.main import renew_delivery_keys  # it takes a while

        renew_delivery_keys(data)
    if local.json:
        show_json({"renewed": True})
    else:
        say(f"delivery has new keys; start the server again with: livepin serve{local.again}")


def check_urls(urls: tuple[str, ...], recovery_urls: tuple[str, ...]) -> None:
    """Refuse what is no URL of delivery or recovery."""
    for option, found, schemes, example in (
        ("--url", urls, ("https",), "https://pins.example.com:8443"),
        ("--recovery-url", recovery_urls, ("https", "http"), "https://cdn.example.net/livepin"),
    ):
        try:
            for each in found:
                check_url(each, schemes=schemes)
        except MalformedError as exc:
            raise CommandError(f"{option}: {exc}", hint=f"such as {example}") from exc


def _require_recovery(data: Path, again: str) -> None:
    """Refuse to cut off apps: those with the old pins find the new ones on no other way."""
    with connected(Local(data=data)) as api:
        if api.served is not None:
            return  # refused for that, in a moment
        names = [each["name"] for each in api.call("GET", "/v1/accounts")]
        found = [n for n in names if not _recovery_urls(api, n)]
    if found:
        raise CommandError(
            f"the apps of {', '.join(found)} would be cut off until a release: no recovery URL",
            hint=f"livepin delivery set --recovery-url URL{again}, and wait until apps know it; "
            "or, after a theft: --without-recovery",
            code=REFUSED,
        )


def _recovery_urls(api: Api, account: str) -> list[str]:
    found: list[str] = api.call("GET", f"/v1/accounts/{account}/delivery")["recovery_urls"]
    return found


def _judged(url: str, delivery: dict[str, Any]) -> dict[str, Any]:
    """Return whether apps can use a delivery URL; they verify by its CA, then match its pins."""
    host = check_url(url, schemes=("https",))
    with working(f"looking at {host}"):
        seen = probe(target(host, urlsplit(url).port, None, delivery["ca"]))
    return asdict(judge_delivery(seen, delivery["pins"]))


def _show_all(name: str, values: list[str]) -> None:
    for at, each in enumerate(values):
        say(f"{name if at == 0 else '':10} {each}")
