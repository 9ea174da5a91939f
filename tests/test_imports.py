"""One direction: benchmarks → export → train → runtime → numpy; and a runtime that imports where only numpy is."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from repository import PARTS, ROOT, all_imports, imports_at_load, modules, sources, third_party

LAYERS = ("benchmarks", "export", "train", "runtime")
COMMAND_LINE = {
    "typer",
    "rich",
    "click",
    "shellingham",
    "markdown_it",
    "mdurl",
    "pygments",
    "typing_extensions",
    "annotated_doc",
}

BARE = """
import importlib, sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Bare())
for name in {modules!r}:
    importlib.import_module(name)
"""
DECLARES_COMMANDS = "whymask.runtime.commands"
"""Typer reads a command's options when its module loads; the command line loads this one after it has found typer."""


def import_bare(*names: str, allowed: set[str], blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Import modules in a fresh interpreter that finds nothing installed but numpy and `allowed`."""
    installed = set(importlib.metadata.packages_distributions()) - {"whymask", "numpy"} - allowed
    unfindable = {name for name in installed if not name.startswith("__")} | set(blocked)
    code = BARE.format(blocked=unfindable, modules=names)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_parts_below_it(part: str):
    above = LAYERS[: LAYERS.index(part)]
    wrong = [
        f"{path.name} imports {name}"
        for path in sources(part)
        for name in sorted(all_imports(path))
        if name.startswith(tuple(f"whymask.{other}" for other in above))
    ]
    assert wrong == []


def test_the_runtime_imports_nothing_but_numpy_when_loaded():
    found = {path.stem: third_party(imports_at_load(path)) - {"numpy"} for path in sources("runtime")}
    assert {name: names for name, names in found.items() if names} == {"commands": {"typer"}}


def test_every_runtime_module_imports_bare():
    done = import_bare(*(name for name in modules("runtime") if name != DECLARES_COMMANDS), allowed=set())
    assert done.returncode == 0, done.stderr


def test_the_bare_mode_itself_blocks():
    done = import_bare("PIL", allowed=set())
    assert done.returncode == 1
    assert "PIL is blocked" in done.stderr


def test_latency_imports_where_only_numpy_is():
    done = import_bare("whymask.benchmarks.latency", allowed=set(), blocked=("whymask.train", "whymask.export"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module",
    [
        DECLARES_COMMANDS,
        "whymask.train.cli",
        "whymask.train.text.cli",
        "whymask.export.cli",
        "whymask.export.build_cli",
        "whymask.export.verify_cli",
        "whymask.benchmarks.cli",
    ],
)
def test_commands_load_with_the_command_line_extra_alone(module: str):
    done = import_bare(module, allowed=COMMAND_LINE)
    assert done.returncode == 0, done.stderr


def test_the_runtime_imports_fast():
    code = "import time, whymask.runtime; print(time.process_time())"
    before = float(subprocess.check_output([sys.executable, "-c", "import time; print(time.process_time())"]))
    best = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)) - before
    assert best < 0.150, f"import whymask.runtime takes {best * 1e3:.0f} ms of processor time; expected under 150 ms"


def test_the_linter_holds_the_same_order():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'layers = ["whymask.benchmarks", "whymask.export", "whymask.train", "whymask.runtime"]' in text
