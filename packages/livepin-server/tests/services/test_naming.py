"""How pin sets are named: no shared set can be taken for a domain's own, whatever its host."""

import pytest
from livepin.documents.members import name as check_name
from livepin.errors import MalformedError
from livepin_server.services.domains import canonical
from livepin_server.services.naming import is_shared, own_set, said

PATTERNS = {
    "api.example.com": "api.example.com",
    "*.example.com": "*.example.com",
    "192.0.2.1": "192.0.2.1",
    "2001:db8::1": "2001:db8::1",
    "::1": "::1",
    "payments": "payments.",
    "localhost": "localhost.",
}


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS.items())
def test_a_domains_own_set_has_a_name_that_no_shared_set_may_have(pattern, expected):
    assert own_set(canonical(pattern)) == expected
    assert not is_shared(expected)
    assert said(expected) == "its own"
    with pytest.raises(MalformedError):
        check_name(expected, what="a pin set")


@pytest.mark.parametrize("name", ["payments", "trust-roots", "a", "0", "x" * 63])
def test_a_name_is_that_of_a_shared_set(name):
    assert is_shared(check_name(name, what="a pin set"))
    assert said(name) == name
