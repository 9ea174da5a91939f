"""The package is what the folders hold: nothing forgotten in pyproject.toml, nothing imported that no extra brings."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from pathlib import Path

import pytest
from repository import PARTS, ROOT, all_imports, modules, project, sources, third_party

DISTRIBUTION_OF = {
    "PIL": "pillow",
    "lightning_fabric": "lightning-fabric",
    "tensorrt_rtx": "tensorrt-rtx",
}
# Found where the device has them; never required.
OPTIONAL = {"onnx", "tensorrt", "cuda", "pynvml", "torch"}


def extra_distributions(extra: str) -> set[str]:
    """Names that `pip install whymask[extra]` brings, extras of extras included."""
    found = set()
    for requirement in project()["project"]["optional-dependencies"][extra]:
        own = re.match(r"whymask\[([^\]]+)\]", requirement)
        if own:
            found |= {name for inner in own[1].split(",") for name in extra_distributions(inner)}
        else:
            found.add(re.split(r"[^A-Za-z0-9_.-]", requirement)[0])
    return found


def test_the_packages_listed_are_the_folders_that_hold_modules():
    folders = {path.parent.relative_to(ROOT).as_posix() for part in PARTS for path in sources(part)}
    tool = project()["tool"]["setuptools"]
    assert sorted(tool["package-dir"].values()) == sorted(folders)
    assert sorted(tool["package-dir"]) == sorted(tool["packages"])
    assert all(name == "whymask." + folder.replace("/", ".") for name, folder in tool["package-dir"].items())


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_typed_and_visible_to_type_checkers(part: str):
    assert (ROOT / part / "py.typed").is_file()
    assert (ROOT / part / "__init__.py").is_file()
    assert (ROOT / ".types" / "whymask" / part).resolve() == ROOT / part


def test_whymask_is_a_namespace_without_a_module_of_its_own():
    assert importlib.import_module("whymask").__file__ is None


def test_the_installed_version_is_the_one_in_pyproject():
    assert importlib.metadata.version("whymask") == project()["project"]["version"]


@pytest.mark.parametrize("module", [name for part in PARTS for name in modules(part)])
def test_every_module_imports(module: str):
    importlib.import_module(module)


@pytest.mark.parametrize(
    ("part", "extras"),
    [
        ("runtime", ("ort", "cli", "image", "tensorrt-rtx")),
        ("train", ("train",)),
        ("export", ("export", "tensorrt-rtx")),
        ("benchmarks", ("bench", "export")),
    ],
)
def test_every_package_imported_is_brought_by_an_extra(part: str, extras: tuple[str, ...]):
    imported = {name for path in sources(part) for name in third_party(all_imports(path))} - OPTIONAL
    brought = {"numpy"}.union(*(extra_distributions(extra) for extra in extras))
    assert {DISTRIBUTION_OF.get(name, name) for name in imported} <= brought


def test_every_command_in_the_table_is_a_function_of_its_module():
    table = project()["project"]["entry-points"]["whymask.commands"]
    for name, target in table.items():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_no_file_names_an_index_to_install_from():
    text = (ROOT / "pyproject.toml").read_text() + (ROOT / "Makefile").read_text()
    assert "index-url" not in text
    assert "find-links" not in text


@pytest.mark.parametrize(
    "path", [path for part in PARTS for path in sources(part)], ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_a_module_stays_under_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
