"""What a process says of itself in its token requests: runtime signals, and what an app adds.

One file per signal or family, `signals` gathers them. Nothing here proves that a process was not
tampered with: who controls the machine controls these answers too. They catch tools that do not
know Livepin, and the policy of the server weighs them. Nothing here is fatal, and nothing here
knows the client.
"""

from .provider import Evidence
from .workload import WorkloadToken

__all__ = ["Evidence", "WorkloadToken"]
