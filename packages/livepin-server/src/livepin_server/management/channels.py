"""Channels: who is told, and how. Their secrets come in, and never go out again.

An admin alone adds and removes them: who adds one learns of every incident from then on, and has
the server send requests.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import Principal
from livepin_server.services.monitoring.channel_kinds import AddedChannel, Retried
from livepin_server.services.monitoring.model import ChannelView
from livepin_server.services.monitoring.notices import Notices, NoticeView

from .asking import Reason, intent
from .monitoring import DOES, MONITOR, NEEDS, SEES, Limit, number_of, wanted
from .shapes import AddChannel, RetryNotices, Why

_Request = Request[Principal, Any, Any]
_ALL = MONITOR + "/channels"
_ONE = _ALL + "/{name:str}"


@get(_ALL, **SEES)
def list_channels(services: NamedDependency[Services], account: FromPath[str]) -> list[ChannelView]:
    """Return the channels of an account, and where they lead, without secrets."""
    return services.channels.all(account)


@post(_ALL, **NEEDS)
def add_channel(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[AddChannel],
) -> AddedChannel:
    """Add a channel. A secret that is made for it is returned this once."""
    return services.channels.add(account, data, intent(request, data.reason))


@delete(_ONE, status_code=200, **NEEDS)
def remove_channel(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    reason: Reason = "",
) -> ChannelView:
    """Remove a channel, with what waits in it."""
    return services.channels.remove(account, name, intent(request, reason))


@post(_ONE + "/test", status_code=200, **DOES)
def test_channel(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[Why],
) -> NoticeView:
    """Have a channel tell of nothing but a test. What becomes of it, the notice says."""
    number = services.channels.test(account, name, intent(request, data.reason))
    wanted(services, account)
    return Notices(services.database).show(account, number)


@get(MONITOR + "/notices/{notice:str}", **SEES)
def show_notice(
    services: NamedDependency[Services], account: FromPath[str], notice: FromPath[str]
) -> NoticeView:
    """Return what became of a notice: it waits, it was delivered, or it is dead."""
    return Notices(services.database).show(account, number_of(notice))


@get(_ONE + "/dead", **SEES)
def list_dead_notices(
    services: NamedDependency[Services],
    account: FromPath[str],
    name: FromPath[str],
    limit: Limit = 50,
) -> list[NoticeView]:
    """Return the notices of a channel that nobody got, the newest first."""
    return Notices(services.database).dead(account, name, limit)


@post(_ONE + "/retry", status_code=200, **DOES)
def retry_notices(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[RetryNotices],
) -> Retried:
    """Send notices again that nobody got, or drop them. A channel that is off needs a test first.

    What is out of date is not sent: its channel was told more of the incident, or that is over.
    """
    why = intent(request, data.reason)
    done = services.channels.retry(account, name, data.notices, why, drop=data.drop)
    wanted(services, account)
    return done


HANDLERS = [
    list_channels,
    add_channel,
    remove_channel,
    test_channel,
    show_notice,
    list_dead_notices,
    retry_notices,
]
