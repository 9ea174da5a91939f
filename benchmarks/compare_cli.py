"""The command `compare`: a gate for a change, from the records of before and after."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from whymask.benchmarks.compare import Comparison, PairComparison
    from whymask.benchmarks.compare_findings import Finding

TIMED = {"ms", "times"}
"""Units of figures that longer measurements tell better."""
EXIT_REGRESSED, EXIT_CANNOT_TELL = 1, 3
"""Beside 0, where all figures held; 2 is the shell's habit for a command that was given wrongly."""


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="BEFORE AFTER...",
            help="JSON records of bench, evaluate or verify, in pairs of a kind, the one from before first.",
        ),
    ],
    max_regress: Annotated[
        str, typer.Option(metavar="SHARE", help="How much worse a figure may be, such as 5% or 0.05.")
    ] = "5%",
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="A field in which the runs may differ, such as versions; may be repeated."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the comparison, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Judge a change by the records of before and after: latency, counted cost, parity and faithfulness.

    A regression is called only where the whole interval of the change is beyond the limit. The limit is a share of the
    former value for times and counts, and points for shares such as retention. Exits with 0 where all figures held,
    1 where one regressed or the files are refused (not valid, or of unlike runs), 3 where the intervals cannot tell.

    Example:
        whymask compare before.json after.json --max-regress 5%
        whymask compare before.json after.json before.faithfulness.json after.faithfulness.json
    """
    from whymask.benchmarks.compare import compare_files
    from whymask.benchmarks.compare_findings import CANNOT_TELL, REGRESSED, share_from_text

    result = compare_files(files, share_from_text(max_regress), allow or ())
    if as_json:
        typer.echo(json.dumps(result.to_record(), ensure_ascii=False))
    else:
        typer.echo("\n".join(lines(result)))
    codes = {REGRESSED: EXIT_REGRESSED, CANNOT_TELL: EXIT_CANNOT_TELL}
    if result.verdict in codes:
        raise typer.Exit(codes[result.verdict])


def lines(result: Comparison) -> list[str]:
    """A comparison for a terminal: a table a pair, and the verdict.

    Args:
        result: of `compare_files`.
    """
    tables = [line for pair in result.pairs for line in (*_table(pair), "")]
    return [*tables, _sentence(result)]


def _table(pair: PairComparison) -> list[str]:
    rows = [("figure", "before", "after", "change", "verdict"), *(_row(finding) for finding in pair.findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [f"· {finding.figure}: {finding.reason}" for finding in pair.findings if finding.reason]
    return [f"{pair.before} → {pair.after}", *table, *reasons, *(f"· {note}" for note in pair.notes)]


def _row(finding: Finding) -> tuple[str, str, str, str, str]:
    before, after = (_value(value, finding.unit) for value in (finding.before, finding.after))
    return finding.figure, before, after, _change(finding), finding.verdict


def _value(value: float, unit: str) -> str:
    from whymask.benchmarks.compare_findings import PARITY, SHARE

    if not math.isfinite(value):
        return "not finite"
    if unit == SHARE:
        return f"{100 * value:.1f} %"
    return f"{value:.4g}" if unit == PARITY else f"{value:.5g} {unit}"


def _change(finding: Finding) -> str:
    """Such as `3.1 % worse (1.0 to 5.2 %)`; ends of the interval below zero are better."""
    from whymask.benchmarks.compare_findings import PARITY, SHARE

    if finding.unit == PARITY or not math.isfinite(finding.worse):
        return ""
    unit = "points" if finding.unit == SHARE else "%"
    change = f"{100 * abs(finding.worse):.1f} {unit} {'worse' if finding.worse > 0 else 'better'}"
    if finding.worse == 0.0:
        change = "none"
    if finding.low == finding.high:
        return change
    return f"{change} ({100 * finding.low:.1f} to {100 * finding.high:.1f})"


def _advice(findings: Iterable[Finding]) -> list[str]:
    """What to do about figures that cannot be told: time more pairs, or judge more pictures; their reasons say more."""
    from whymask.benchmarks.compare_findings import SHARE

    units = {finding.unit for finding in findings if math.isfinite(finding.worse)}
    advice = {"measure longer: bench --pairs 1000": units & TIMED, "evaluate more pictures": units & {SHARE}}
    return [what for what, concerned in advice.items() if concerned]


def _sentence(result: Comparison) -> str:
    """The verdict, and the figures that it comes from."""
    from whymask.benchmarks.compare_findings import CANNOT_TELL, HELD

    limit = f"{100 * result.max_regress:g} %"
    if result.verdict == HELD:
        return f"no figure regressed by more than {limit}"
    every = [finding for pair in result.pairs for finding in pair.findings]
    names = ", ".join(finding.figure for finding in every if finding.verdict == result.verdict)
    if result.verdict == CANNOT_TELL:
        told = f"cannot tell whether these regressed by more than {limit}: {names}"
        return "; ".join([told, *_advice(finding for finding in every if finding.verdict == CANNOT_TELL)])
    return f"regressed by more than {limit}, or out of bounds: {names}"
