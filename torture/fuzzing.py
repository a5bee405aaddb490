"""All targets in turn, each in a process of its own under atheris."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .pages import Part
from .targets import TARGETS

_SECONDS = 10  # that one input may take
_MEMORY = 2048  # MiB
_SHARE = 8.0  # seconds that a target is fuzzed
_EXECUTIONS = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
_FOUND = Path(tempfile.gettempdir(), "livepin-torture")


def run(seed: int, scale: float) -> Part:
    """Fuzz each target for eight seconds, by a scale of 1."""
    part = Part()
    share = max(1, round(_SHARE * scale))
    for name in TARGETS:
        place = _FOUND / name
        place.mkdir(parents=True, exist_ok=True)
        before = set(place.iterdir())
        command = [
            *(sys.executable, "-m", "torture.fuzz", name),
            *(f"-seed={seed % 2**32 or 1}", f"-max_total_time={share}"),
            *(f"-timeout={_SECONDS}", f"-rss_limit_mb={_MEMORY}", "-print_final_stats=1"),
            f"-artifact_prefix={place}/",
        ]
        with tempfile.TemporaryDirectory() as folder:  # libFuzzer ends a process as it is
            done = subprocess.run(
                command, capture_output=True, check=False, env={**os.environ, "TMPDIR": folder}
            )
        executions = _EXECUTIONS.search(done.stderr)
        part.rows.append({"target": name, "executions": int(executions[1]) if executions else 0})
        print(f"fuzz {name}: {part.rows[-1]['executions']:,} executions", flush=True)
        if done.returncode:
            files = sorted(set(place.iterdir()) - before)
            part.findings.append(f"fuzzing {name} failed")
            print(done.stderr.decode(errors="replace")[-4000:])
            print(f"found: {name}, with {', '.join(map(str, files)) or 'no input'}", flush=True)
            print(f"again: python -m torture.fuzz {name} FILE; once mended, the file belongs to")
            print(f"       torture/crashers/{name}/, from where make test tries it", flush=True)
    return part
