"""Who has a root key brings a root that would break the account: skipped, or without the server."""

import dataclasses

import pytest
from livepin.documents import Role
from livepin.errors import VerificationError
from livepin.jose import PrivateKey
from livepin_server.ceremony.proposal import Proposal
from livepin_server.errors import ConflictError, InvalidError


@pytest.fixture
def root(offline):
    return offline.prepare(replace_online=True).root


@pytest.mark.parametrize("version", [1, 3, 40, 2**53 - 1])
def test_a_version_that_is_not_the_next_is_refused(offline, root, version):
    jump = dataclasses.replace(root, version=version)
    with pytest.raises(ConflictError, match=f"root {version} of beta is"):
        offline.publish(offline.signed(jump))
    assert offline.version == 1


def test_a_signer_is_shown_no_jump(offline, root):
    previous = offline.signed(offline.prepare(days=2000).previous.document)
    with pytest.raises(VerificationError, match="expected root 2, found root 3"):
        Proposal.new(dataclasses.replace(root, version=3).payload(), previous)


@pytest.mark.parametrize("role", ["config", "override"])
def test_a_root_without_the_servers_own_keys_is_refused(offline, root, role):
    # Published, it would stop every change of pins, and apps could not be helped any more.
    key = PrivateKey.generate()
    without = Role(keys={key.public.kid: key.public})
    forged = dataclasses.replace(root, roles=root.roles | {role: without})
    with pytest.raises(ConflictError, match=f"the server holds no {role} key that root 2"):
        offline.publish(offline.signed(forged))
    assert offline.version == 1
    assert offline.services.published.bootstrap("beta", "main")


def test_a_root_of_another_account_is_refused(offline, root):
    with pytest.raises(InvalidError, match="expected a root of beta, found one of acme"):
        offline.publish(offline.signed(dataclasses.replace(root, account="acme")))


def test_the_right_one_is_published_all_the_same(offline, root):
    offline.publish(offline.signed(root))
    assert offline.version == 2
