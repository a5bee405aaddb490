"""A token that is bound to a user's session, sent with another's, or with none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from livepin.testing import TokenIssuer

if TYPE_CHECKING:
    from conftest import Backend

FIELD, BIND = "Livepin-Token", "Authorization"
Start = Callable[..., "Backend"]
MINE, HIS = "Bearer mine", "Bearer his"


def test_a_token_that_is_bound_to_nothing(backend: Start, issuer: TokenIssuer) -> None:
    made = backend(bind=BIND)
    made.refuses("binding", (FIELD, issuer.token()), (BIND, MINE))
    made.refuses("binding", (FIELD, issuer.token()))
    made.refuses("binding", (FIELD, issuer.token()), (BIND, ""))


@pytest.mark.parametrize("value", [HIS, "bearer mine", "Bearer  mine", "Bearer mine,", "", "mine"])
def test_another_value_also_where_the_token_is_known(
    backend: Start, issuer: TokenIssuer, value: str
) -> None:
    made, token = backend(bind=BIND), issuer.token(bound_to=MINE.encode())
    made.refuses("binding", (FIELD, token), (BIND, value))
    assert made.ask((FIELD, token), (BIND, MINE)).status == 200
    made.refuses("binding", (FIELD, token), (BIND, value))


def test_without_what_it_is_bound_to(backend: Start, issuer: TokenIssuer) -> None:
    made, token = backend(bind=BIND), issuer.token(bound_to=MINE.encode())
    assert made.ask((FIELD, token), (BIND, MINE)).status == 200
    made.refuses("binding", (FIELD, token))
    made.refuses("binding", (FIELD, token), ("Authorisation", MINE))
    made.refuses("binding", (FIELD, issuer.token(bound_to=b"")))


def test_two_values_of_which_the_app_may_read_the_other(
    backend: Start, issuer: TokenIssuer
) -> None:
    made, token = backend(bind=BIND), issuer.token(bound_to=MINE.encode())
    for two in ((MINE, HIS), (HIS, MINE)):
        assert made.ask((FIELD, token), *((BIND, each) for each in two)).status == 401
    assert not made.seen
