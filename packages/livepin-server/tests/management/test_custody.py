"""The master key is changed over the API: by an admin of the whole server, one after the other."""

from livepin_server.custody.sealed import load_master_key
from livepin_server.services import key_rows


def test_two_that_change_the_master_key_at_once_both_do_and_no_key_is_lost(
    start_server, rekey_at_once
):
    """Such as one whose command was given up after a while, and who tries again."""
    server = start_server()
    key = server.key()

    def rekey(_):
        return server.send(
            "POST", "/v1/custody/rekey", to="management", key=key, json={"reason": "again"}
        )

    answers = rekey_at_once([server.services] * 2, rekey)
    assert [each.status_code for each in answers] == [200, 200]
    assert [each.json()["keys"] for each in answers] == [3, 3]
    status = server.send("GET", "/v1/status", to="management", key=key).json()
    assert not [each for each in status["warnings"] if "does not open" in each]
    master = load_master_key(server.folder.data / "master.key", None)
    with server.services.database.reading() as connection:
        found = key_rows.sealed(connection)
    assert {master.open(e.data, e.label).public.kid for e in found} == {e.label.kid for e in found}
    path, body = "/v1/accounts/acme/delivery", {"refresh_interval": 600}
    answer = server.send("PUT", path, to="management", key=key, json=body)
    assert answer.status_code == 200
