"""The architecture page names what is there, and every contract of the imports can say no."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_page_names_every_file_and_folder_of_the_agent() -> None:
    page = (ROOT / "agent" / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w]+(?:\.py|/))`", row)}
    there = {path.name + ("/" if path.is_dir() else "") for path in (ROOT / "agent").iterdir()}
    assert named == there - {"__init__.py", "__pycache__/", "README.md"}


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("probes/core/reasons.py", "import agent.job"),
        ("probes/http.py", "import prometheus_client"),
        ("probes/http.py", "import probes.dns"),
        ("probes/core/reasons.py", "import probes.lib.tls"),
        ("agent/drill/world.py", "import probes"),
        ("agent/state.py", "import yaml"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(tmp_path: Path, file: str, line: str) -> None:
    for folder in ("agent", "probes"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout
