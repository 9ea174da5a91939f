"""What the structural tests know about this repository: its folders, their modules, and what each may import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("runtime", "train", "export", "benchmarks")


def project() -> dict:
    """pyproject.toml, parsed."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def sources(part: str) -> list[Path]:
    """Every Python file of one folder, subfolders included."""
    return sorted((ROOT / part).rglob("*.py"))


def modules(part: str) -> list[str]:
    """Import names of one folder's modules, the package itself left out."""
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in sources(part)]
    return [f"whymask.{name}" for name in names if not name.endswith("__init__")]


def all_imports(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere."""
    return set(_imported(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def imports_at_load(path: Path) -> set[str]:
    """Dotted names that importing a file imports: none inside functions, none for type checkers alone."""
    return set(_imported(_nodes_run_at_load(ast.parse(path.read_text(encoding="utf-8")))))


def third_party(names: set[str]) -> set[str]:
    """Top-level names that are neither whymask's nor the standard library's."""
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"whymask", "__future__"}


def _imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _nodes_run_at_load(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield child
        yield from _nodes_run_at_load(child)
