"""The script `livepin`: it hands over to the operators' commands, or says where they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import livepin

SOURCE = Path(livepin.__file__).parent.parent
RUN = "import sys; sys.path[:0] = sys.argv[1:]; from livepin.__main__ import main; sys.exit(main())"


def run(*folders: Path) -> subprocess.CompletedProcess[str]:
    """Run the script where nothing is installed but what lies in `folders`."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, str(SOURCE), *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def install(folder: Path, code: str) -> Path:
    """Make a distribution that offers commands, as `livepin-server` does."""
    info = folder / "operators-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: operators\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[livepin.commands]\nmain = operators:main\n")
    (folder / "operators.py").write_text(code)
    return folder


def test_without_the_server_the_script_says_how_to_install_it() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"livepin {livepin.__version__}" in done.stderr
    assert "pip install livepin-server" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_the_server_its_commands_run_and_their_result_is_handed_on(tmp_path: Path) -> None:
    done = run(install(tmp_path, "def main():\n    print('commands')\n    return 7\n"))
    assert (done.returncode, done.stdout, done.stderr) == (7, "commands\n", "")


def test_the_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "livepin"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "client library" in done.stderr
