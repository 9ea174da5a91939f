"""The package is what the folders hold: nothing forgotten in pyproject.toml, nothing imported that no extra brings."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
from collections.abc import Iterator

import pytest
from repository import PARTS, ROOT, all_imports, modules, project, sources, third_party

DISTRIBUTION_OF = {
    "mlperf_loadgen": "mlcommons-loadgen",
    "pytorch_grad_cam": "grad-cam",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
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
        ("runtime", ("ort", "cli", "image", "tensorrt-rtx", "tokenizers")),
        ("train", ("train", "text")),
        ("export", ("export", "tensorrt-rtx")),
        ("benchmarks", ("bench", "evaluate", "export", "loadgen", "text")),
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


def test_no_module_is_over_400_lines_and_no_function_over_60():
    too_long = []
    for path in (path for part in PARTS for path in sources(part)):
        text = path.read_text(encoding="utf-8")
        sizes = {"": len(text.splitlines()), **dict(_function_lengths(ast.parse(text)))}
        too_long += [
            f"{path.parent.name}/{path.name} {n}: {size}" for n, size in sizes.items() if size > (60 if n else 400)
        ]
    assert too_long == []


def _function_lengths(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Lines of every function, its docstring left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            yield node.name, node.end_lineno - node.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)
