"""Build wheel and sdist, compare them with the folders, and use the wheel in an empty environment without torch.

    .venv/bin/python tests/wheel/check_wheel.py

Run by `make wheel-test`; needs the extra `dev`. Exits 1 at the first thing that does not hold.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from repository import PARTS, ROOT, project

EXTRAS = "cli,image,ort"
TEST_TOOLS = ("pytest",)
ABSENT = ("torch", "torchvision", "timm", "onnx", "scipy")


def main() -> None:
    """Every check in turn; the folder of builds is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="whymask-wheel-") as name:
        folder = Path(name)
        wheel, sdist = build(folder)
        check_wheel_holds_the_folders(wheel)
        check_sdist_holds_the_sources(sdist)
        python = empty_environment(folder / "venv", wheel)
        check_nothing_heavy_came_along(python)
        run_the_runtime_tests(python, folder)
        run_every_help(python.parent / "whymask", folder)
    say("the wheel holds")


def build(folder: Path) -> tuple[Path, Path]:
    """Wheel (from the sdist, as an index would) and sdist."""
    say("building")
    # From a copy, since setuptools leaves build/ behind, and an old build/ would find its way into the next wheel.
    copy = folder / "source"
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy)
    call(sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(copy), quiet=True)
    return next((folder / "dist").glob("*.whl")), next((folder / "dist").glob("*.tar.gz"))


def sources() -> set[str]:
    """Files that must be installed, as paths inside the wheel."""
    kept = [
        path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix == ".py" or path.name == "py.typed"
    ]
    return {f"whymask/{path.relative_to(ROOT).as_posix()}" for path in kept}


def check_wheel_holds_the_folders(wheel: Path) -> None:
    """Nothing forgotten, nothing that does not belong, no top-level name but whymask."""
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    expect(sources() <= packed, f"the wheel lacks {sorted(sources() - packed)}")
    expect(packed <= sources(), f"the wheel has {sorted(packed - sources())}, which is no module of a folder")
    expect(any(name.endswith("licenses/LICENSE") for name in names), "the wheel lacks the licence")


def check_sdist_holds_the_sources(sdist: Path) -> None:
    """What a wheel is built from, and what a packager reads."""
    names = {name.partition("/")[2] for name in tarfile.open(sdist).getnames()}
    needed = {name.removeprefix("whymask/") for name in sources()} | {"LICENSE", "README.md", "pyproject.toml"}
    expect(needed <= names, f"the sdist lacks {sorted(needed - names)}")


def empty_environment(folder: Path, wheel: Path) -> Path:
    """A new virtual environment with the wheel and the extras of a device; its Python."""
    say(f"installing {wheel.name}[{EXTRAS}] into an empty environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    quiet = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    call(str(python), *quiet, f"{wheel}[{EXTRAS}]", *TEST_TOOLS, quiet=True)
    return python


def check_nothing_heavy_came_along(python: Path) -> None:
    """The runtime's extras bring none of the training's packages, and the version is the one in pyproject."""
    code = f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])"
    found = subprocess.check_output([python, "-c", code], text=True).strip()
    expect(found == "[]", f"[{EXTRAS}] brought {found}")
    code = "import importlib.metadata as m; print(m.version('whymask'))"
    version = subprocess.check_output([python, "-c", code], text=True).strip()
    expect(version == project()["project"]["version"], f"the wheel says version {version}")


def run_the_runtime_tests(python: Path, folder: Path) -> None:
    """What a device needs against the installed wheel, from a folder that has no sources to fall back on."""
    say("running the tests of runtime and latency without torch")
    away = folder / "away"
    shutil.copytree(ROOT / "tests", away / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", away)
    call(str(python), "-m", "pytest", "-q", "tests/runtime", "tests/benchmarks/test_latency.py", cwd=away)


def run_every_help(program: Path, folder: Path) -> None:
    """`--help` of the program and of each command: they must say what they are for where torch is not."""
    entry_points = project()["project"]["entry-points"]["whymask.commands"]
    for command in ("", "explain", "inspect", "doctor", *entry_points):
        arguments = [word for word in (str(program), command, "--help") if word]
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        shown = " ".join(["whymask", *arguments[1:]])
        expect(done.returncode == 0, f"`{shown}` failed: {done.stderr.strip()[-2000:]}")
        expect("Usage" in done.stdout, f"`{shown}` prints no usage: {done.stdout[:500]}")
        expect("does not load" not in done.stdout, f"`{shown}` says that a command does not load:\n{done.stdout}")
    say("every --help works without torch")


def call(*arguments: str, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a program; show what it printed only when it fails, if quiet."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=quiet, text=True, check=False)
    if done.returncode:
        expect(False, f"{' '.join(arguments)}\nexited with {done.returncode}\n{done.stdout or ''}{done.stderr or ''}")


def expect(holds: bool, otherwise: str) -> None:
    """Stop with a message unless something holds."""
    if not holds:
        sys.exit(f"wheel test: {otherwise}")


def say(text: str) -> None:
    """Tell what is being done."""
    sys.stdout.write(f"wheel test: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
