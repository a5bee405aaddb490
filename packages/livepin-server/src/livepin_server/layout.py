"""What is where in a data folder, beside the settings file."""

from __future__ import annotations

from pathlib import Path

OPERATOR_KEY = "operator.key"
MASTER_KEY = "master.key"
NEXT_MASTER_KEY = "master.key.new"  # while the master key changes
TLS = "tls"
NEXT_TLS = "tls.new"  # while delivery keys are renewed
RUN_FILE = Path("run", "management.json")  # where the running server's management is
REVOKED = "android-revoked.json"  # what Google says of keys of Android devices
