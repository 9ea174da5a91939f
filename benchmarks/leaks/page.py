"""The checks as a section of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whymask.benchmarks.tables import table

VERDICTS = {True: "passed", False: "**not passed**", None: "undecided"}
MOST_FIGURES = 80
"""Rows of one table: more is for the JSON."""


def page_from_record(record: Mapping[str, Any]) -> str:
    """The whole section.

    Args:
        record: of `whymask.benchmarks.leaks.study.run_checks`.
    """
    graph = record["graph"]
    lead = (
        f"`{graph['file']}` ({graph['classifier']}), {record['images']} pictures of {', '.join(record['data'])}, seed "
        f"{record['seed']}. Bars were set before anything was measured; in brackets 95 % intervals over pictures. Made "
        f"by: `{record['command']}`"
    )
    parts = ["# Leaks", lead, summary(record["checks"])]
    return "\n\n".join([*parts, *(part for check in record["checks"] for part in _section(check))]) + "\n"


def summary(checks: Sequence[Mapping[str, Any]]) -> str:
    """One row a bar; a check that decides nothing has one row with the reason."""
    rows = []
    for check in checks:
        if check["passed"] is None:
            # Bars of too few pictures would be quoted: the figures below are all that may be.
            rows.append([check["check"], check["reason"], VERDICTS[None]])
            continue
        rows += [[check["check"], each["stated"], "met" if each["met"] else "**not met**"] for each in check["bars"]]
    return table(("check", "bar", ""), rows, left=3)


def sentence(check: Mapping[str, Any]) -> str:
    """A check in one line for the terminal."""
    if check["passed"] is None:
        return f"{check['check']}: undecided, {check['reason']}"
    missed = [each["stated"] for each in check["bars"] if not each["met"]]
    words = f"passed, {len(check['bars'])} bars met" if check["passed"] else f"not passed: {'; '.join(missed)}"
    return f"{check['check']}: {words} ({check['n']} pictures)"


def _section(check: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {check['check']}: {VERDICTS[check['passed']].strip('*')}"
    if check["stated"]:
        yield check["stated"]
    if check["figures"]:
        rows = [[name, _number(each), _range(each), str(each["n"])] for name, each in check["figures"].items()]
        yield table(("figure", "value", "95 % interval", "pictures"), rows[:MOST_FIGURES])
    if "matrix" in check:
        yield "Share of the best quarter in a tile of the column's class when the row's class is asked for:"
        yield _matrix(check["matrix"])


def _matrix(matrix: Mapping[str, Any]) -> str:
    names = [str(name) for name in matrix.get("labels", matrix["classes"])]
    rows = [
        [name, *("" if value is None else f"{value:.2f}" for value in row)]
        for name, row in zip(names, matrix["share"], strict=True)
    ]
    return table(("asked", *names), rows)


def _number(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.3f}"


def _range(figure: Mapping[str, Any]) -> str:
    return f"{figure['low']:.3f} to {figure['high']:.3f}"
