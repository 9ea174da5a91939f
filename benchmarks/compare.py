"""Files that were written before and after a change: are they of one kind and of like runs, did anything regress?"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whymask.benchmarks.bench_record import KIND as BENCH
from whymask.benchmarks.compare_bench import bench_likeness, check_valid, compare_benches
from whymask.benchmarks.compare_findings import CANNOT_TELL, HELD, REGRESSED, Finding, check_alike
from whymask.benchmarks.compare_reports import (
    compare_evaluations,
    compare_verifications,
    evaluation_likeness,
    verification_likeness,
)
from whymask.benchmarks.compare_suite import compare_suites, suite_likeness, suite_record
from whymask.benchmarks.compare_sweep import compare_sweeps, sweep_likeness
from whymask.benchmarks.suite.record import KIND as SUITE
from whymask.benchmarks.sweep_record import KIND as SWEEP
from whymask.runtime.errors import ArtefactError, InputError, WhymaskError

RECORD_SCHEMA = 1
EVALUATION, VERIFICATION = "whymask.evaluate", "whymask.verify"
MARKS = {EVALUATION: {"graph", "method", "sets"}, VERIFICATION: {"reference", "measured", "figures"}}
"""Fields by which the kinds are known that do not name themselves."""
LIKENESS = {
    BENCH: bench_likeness,
    SWEEP: sweep_likeness,
    SUITE: suite_likeness,
    EVALUATION: evaluation_likeness,
    VERIFICATION: verification_likeness,
}
GARBLED = (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError)
"""What a record brings about whose fields are absent, or are not what they should be."""
NAMED = (BENCH, SWEEP, SUITE)
"""Kinds that name themselves."""


@dataclass(frozen=True)
class PairComparison:
    """One pair of files.

    Attributes:
        kind: of both files.
        before, after: their names.
        findings: figure by figure.
        notes: what was not judged, and what was allowed to differ.
    """

    kind: str
    before: str
    after: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All pairs together.

    Attributes:
        max_regress: how much worse each figure may be, as a share.
        pairs: in the order given.
    """

    max_regress: float
    pairs: tuple[PairComparison, ...]

    @property
    def verdict(self) -> str:
        """`regressed` where one figure did, else `cannot tell` where one cannot be judged, else `held`."""
        verdicts = {finding.verdict for pair in self.pairs for finding in pair.findings}
        return next((each for each in (REGRESSED, CANNOT_TELL) if each in verdicts), HELD)

    def to_record(self) -> dict[str, Any]:
        """As plain values for JSON; a figure that is not finite is null."""
        record = {
            "schema": RECORD_SCHEMA,
            "kind": "whymask.compare",
            "verdict": self.verdict,
            **dataclasses.asdict(self),
        }
        for pair in record["pairs"]:
            for finding in pair["findings"]:
                broken = [
                    name for name, value in finding.items() if isinstance(value, float) and not math.isfinite(value)
                ]
                finding |= dict.fromkeys(broken)
        return record


def compare_files(files: Sequence[Path], max_regress: float, allow: Sequence[str] = ()) -> Comparison:
    """Judge pairs of files, each the one from before and the one from after.

    Args:
        files: records of `whymask bench` or `whymask verify`, reports of `whymask evaluate`; two of a kind beside
            each other.
        max_regress: how much worse each figure may be, as a share: of the former value for times and counts, in points
            for shares such as retention.
        allow: fields in which the runs may differ.

    Raises:
        InputError: an odd number of files, two kinds in one pair, or an unknown field.
        ArtefactError: a file is no such record, not valid, or of another run than its partner.
    """
    if not files or len(files) % 2:
        raise InputError(f"{len(files)} files, expected pairs: whymask compare BEFORE.json AFTER.json [BEFORE AFTER …]")
    records = [_read(file) for file in files]
    known = {name for kind, record in records for name in _likeness(kind, record)}
    unknown = [name for name in allow if name not in known]
    if unknown:
        raise InputError(f"--allow {unknown[0]}: no such field, expected one of {', '.join(sorted(known))}")
    pairs = zip(files[::2], files[1::2], records[::2], records[1::2], strict=True)
    return Comparison(max_regress, tuple(_compare(*each, max_regress, allow) for each in pairs))


def _compare(
    before_file: Path,
    after_file: Path,
    before: tuple[str, dict[str, Any]],
    after: tuple[str, dict[str, Any]],
    limit: float,
    allow: Sequence[str],
) -> PairComparison:
    names, kind = (str(before_file), str(after_file)), before[0]
    if kind != after[0]:
        raise InputError(f"{names[0]} is of {kind} and {names[1]} of {after[0]}; give two of a kind beside each other")
    try:
        _check_provable(kind, names, before[1], after[1])
        notes = list(check_alike(names, _likeness(*before), _likeness(*after), allow))
        findings, unjudged = _findings(kind, before[1], after[1], limit)
    except WhymaskError:
        raise
    except GARBLED as error:
        raise ArtefactError(f"{names[0]} or {names[1]} lacks or garbles {error}; measure again") from None
    if not findings:
        raise ArtefactError(f"{names[0]} and {names[1]}: no figure is in both, so nothing is judged; measure alike")
    return PairComparison(kind, *names, tuple(findings), (*notes, *unjudged))


def _check_provable(kind: str, names: tuple[str, str], before: dict[str, Any], after: dict[str, Any]) -> None:
    if kind in (BENCH, SWEEP):
        check_valid(names[0], before)
        check_valid(names[1], after)
    if kind == VERIFICATION and not before["passed"]:
        raise ArtefactError(f"{names[0]}: did not pass, so it is nothing to hold another to; verify a graph that does")


def _findings(
    kind: str, before: dict[str, Any], after: dict[str, Any], limit: float
) -> tuple[list[Finding], list[str]]:
    judges = {BENCH: compare_benches, SWEEP: compare_sweeps, SUITE: compare_suites}
    if kind in judges:
        return judges[kind](before, after, limit)
    if kind == EVALUATION:
        return compare_evaluations(before, after, limit), []
    return compare_verifications(before, after), []


def _likeness(kind: str, record: dict[str, Any]) -> dict[str, object]:
    return LIKENESS[kind](record)


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """A file's kind and content."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{file}: cannot be read as JSON: {error}") from None
    fields = set(record) if isinstance(record, dict) else set()
    named = [kind for kind in NAMED if fields and record.get("kind") == kind]
    kinds = named or [kind for kind, marks in MARKS.items() if marks <= fields]
    if not kinds:
        raise ArtefactError(
            f"{file}: no record of whymask bench, evaluate or verify; write one with -o {file.name}, ending in .json"
        )
    if kinds[0] == SUITE:
        record = suite_record(file)
    try:
        _likeness(kinds[0], record)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{file}: a record of {kinds[0]} that lacks or garbles {error}; measure again") from None
    return kinds[0], record
