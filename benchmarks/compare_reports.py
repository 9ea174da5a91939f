"""Two reports of `whymask evaluate`, or two records of `whymask verify`, judged figure by figure.

Faithfulness is compared picture by picture, which is far sharper than comparing two tables. The area at the threshold
is judged with it, for a mask that keeps everything keeps every class as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.compare_findings import HELD, PARITY, REGRESSED, Finding, judge_pictures, lost
from whymask.benchmarks.faithfulness import Case, Faithfulness
from whymask.benchmarks.records import measurement_from_record
from whymask.runtime.errors import ArtefactError
from whymask.runtime.parity import is_lower_bound

Record = Mapping[str, Any]

CARD_FIELDS = ("classifier", "classifier_sha256", "height", "width", "resize", "fill", "precision")


def evaluation_likeness(report: Record) -> dict[str, object]:
    """What two evaluations must share, by the name that `--allow` takes."""
    graph, method = report["graph"], report["method"]
    alike: dict[str, object] = {name: graph["card"][name] for name in CARD_FIELDS}
    alike |= {"provider": graph["provider"], "areas": method["areas"], "fills": list(method["fills"])}
    return {**alike, "sets": [each["name"] for each in report["sets"]], "seed": method["seed"]}


def compare_evaluations(before: Record, after: Record, limit: float) -> list[Finding]:
    """Judge retention and area of the explainer on every set of pictures.

    Args:
        before, after: reports of like evaluations.
        limit: how many points each mean may be worse, as a share.

    Raises:
        ArtefactError: no set is in both, or a set holds other pictures in the two reports.
    """
    first, second = (
        {each["name"]: measurement_from_record(each) for each in report["sets"]} for report in (before, after)
    )
    shared = [name for name in first if name in second]
    if not shared:
        raise ArtefactError(f"no set of pictures in common: {', '.join(first)} and {', '.join(second)}")
    return [finding for name in shared for finding in _compare_sets(first[name], second[name], limit)]


def check_pictures(name: str, before: Sequence[str], after: Sequence[str]) -> None:
    """Refuse a set that holds other pictures in the two reports.

    Args:
        name: of the set.
        before, after: names of its pictures, in order.

    Raises:
        ArtefactError: they differ.
    """
    if list(before) != list(after):
        raise ArtefactError(
            f"{name}: {len(before)} and {len(after)} pictures, and not the same ones; "
            "evaluate both graphs on the same folder with the same --limit"
        )


def _compare_sets(before: Faithfulness, after: Faithfulness, limit: float) -> list[Finding]:
    check_pictures(before.name, before.files, after.files)
    cases = [case for case in before.kept if case.map == EXPLAINER and case in after.kept]
    findings = []
    for fill in dict.fromkeys(case.fill for case in cases):
        at_threshold = [case for case in cases if case.fill == fill and case.area is None]
        at_areas = [case for case in cases if case.fill == fill and case.area is not None]
        for name, chosen in {"at the threshold": at_threshold, "over all areas": at_areas}.items():
            if chosen:
                figure = f"{before.name}: retention {name}, {fill}"
                values = _kept(before, chosen), _kept(after, chosen)
                findings.append(judge_pictures(figure, *values, limit, more_is_better=True))
    figure = f"{before.name}: area at the threshold"
    return [*findings, judge_pictures(figure, before.areas, after.areas, limit, more_is_better=False)]


def _kept(measured: Faithfulness, cases: list[Case]) -> NDArray[np.float64]:
    """Share of the cases in which each picture kept its class, float64 (n,)."""
    shares: NDArray[np.float64] = np.mean([measured.kept[case] for case in cases], axis=0, dtype=np.float64)
    return shares


def verification_likeness(record: Record) -> dict[str, object]:
    """What two verifications must share, by the name that `--allow` takes."""
    images, measured = record["images"], record["measured"]
    pictures = f"{images['count']} of {images['source'] or 'synthetic ones'}"
    return {
        "pictures": pictures,
        "kind": measured["kind"],
        "precision": measured["precision"],
        "provider": measured["provider"],
        "reference": f"{record['reference']['kind']}, {record['reference']['precision']}",
    }


def compare_verifications(before: Record, after: Record) -> list[Finding]:
    """Judge every parity figure by its own bound: what kept it before must keep it after, and be told after.

    Args:
        before, after: records of like verifications.
    """
    first, second = ({figure["name"]: figure for figure in record["figures"]} for record in (before, after))
    return [
        _parity(name, first[name], second[name])
        if name in second
        else lost(f"parity: {name}", PARITY, _measured(first[name]))
        for name in first
    ]


def _measured(figure: Record) -> float:
    return float("nan") if figure["measured"] is None else float(figure["measured"])


def _parity(name: str, before: Record, after: Record) -> Finding:
    values = [_measured(each) for each in (before, after)]
    worse = values[0] - values[1] if is_lower_bound(name) else values[1] - values[0]
    verdict = HELD if after["passes"] else REGRESSED
    reason = "" if after["passes"] else f"out of its bound, {after['allowed']:g}"
    return Finding(f"parity: {name}", PARITY, values[0], values[1], worse, worse, worse, verdict, reason)
