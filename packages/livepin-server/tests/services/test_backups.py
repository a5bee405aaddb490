"""The server's note of a backup: who, how large, and nothing that is in it."""

import logging

from livepin_server.services.model import BackupMade


def test_it_is_noted_with_the_time(services, intent, caplog, clock):
    for recipients, said in ((2, "to 2 recipients"), (0, "under a passphrase")):
        made = BackupMade(recipients=recipients, size=5000, rows=70)
        with caplog.at_level(logging.INFO):
            assert services.backups.record(made, intent) == clock()
        record = caplog.records[-1]
        assert record.message == "a backup was made"
        assert (record.author, record.sealed) == (intent.author, said)
        assert (record.bytes, record.rows) == (5000, 70)
