"""A record of `amortized_texts` or `film_reviews` as a Markdown page: the verdict first, then figures and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.rationales_page import CUT_FIGURES, CUT_HEAD, FIGURES, HEAD, cells, marc_told, signed
from whymask.benchmarks.tables import table

CLAIM = "An amortized student beats its per-sample teacher"
PUBLISHED = "published: comprehensiveness .652 against .478 on movie reviews"
HIGHER = {"comprehensiveness": 1.0, "sufficiency": -1.0, "f1": 1.0}
"""Figures of the claim's verdict, and 1 where more is better."""
NAMES = {"comprehensiveness": "comprehensiveness", "sufficiency": "sufficiency", "f1": "token F1"}


@dataclass(frozen=True)
class Source:
    """What a study was made on.

    Attributes:
        title: of the page.
        texts: that were judged, in words, after their number.
        classifier: in words.
    """

    title: str
    texts: str
    classifier: str


GENERATED = Source(
    "One pass for a text's reason",
    "held-out generated texts with an opinion that the classifier gets right",
    "small transformer",
)


def page_from_record(record: dict[str, Any], source: Source) -> str:
    """The whole page."""
    methods, cuts = record["methods"], record["cuts"]
    took = {name: f"{1000 * float(np.median(values)):.2g}" for name, values in record["seconds"].items()}
    shown, shown_of_cuts = (known(each, names) for each, names in ((methods, FIGURES), (cuts, CUT_FIGURES)))
    head = ("method", *(HEAD[1 + FIGURES.index(each)] for each in shown), "processor ms a text ↓")
    cut_head = ("method", *(CUT_HEAD[CUT_FIGURES.index(each)] for each in shown_of_cuts))
    parts = [
        f"# {source.title}",
        verdicts(record),
        table(head, [[name, *cells(figures, shown), took[name]] for name, figures in methods.items()]),
        "At its own cut (the student's calibrated threshold, MaRC's 0.5), tokens taken out:",
        table(cut_head, [[name, *cells(figures, shown_of_cuts)] for name, figures in cuts.items()]),
        latency_told(record["latency"]),
        told(record, source),
        "",
    ]
    return "\n\n".join(parts)


def known(by_method: dict[str, dict[str, list[float]]], names: Sequence[str]) -> list[str]:
    """The figures that are there: texts without a given reason have no agreement with one."""
    first = next(iter(by_method.values()))
    return [each for each in names if each in first]


def verdicts(record: dict[str, Any]) -> str:
    """The claim by each figure, then every other method against the student."""
    methods = record["methods"]
    student, *others = methods
    teacher = next(name for name in others if name == "MaRC")
    lines = [f"**{CLAIM}** ({PUBLISHED}); here, paired over {record['texts']} texts, student less MaRC, in points:"]
    shown = known(methods, tuple(HIGHER))
    for figure in shown:
        sign = HIGHER[figure]
        each = difference(methods[student][figure], methods[teacher][figure])
        arrow = "↑" if sign > 0 else "↓"
        lines.append(f"- by {NAMES[figure]} {arrow}: **{verdict(each, sign)}**, {signed(each)}")
    lines.append(f"\nThe student less the others ({'; '.join(NAMES[each] for each in shown)}):")
    for name in others:
        less = (signed(difference(methods[student][each], methods[name][each])) for each in shown)
        lines.append(f"- {name}: {'; '.join(less)}")
    return "\n".join(lines)


def verdict(each: Interval, sign: float) -> str:
    """`confirmed` where the whole interval is on the claim's side of 0, `refuted` on the other, else `undecided`."""
    low, high = sorted((sign * each.low, sign * each.high))
    return "confirmed" if low > 0.0 else "refuted" if high < 0.0 else "undecided"


def difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of paired differences with its bootstrap interval over texts."""
    return mean_interval(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def latency_told(latency: dict[str, Any]) -> str:
    """Fused over alone, with what speaks against it."""
    ratio = latency["ratio"]
    worth = "valid" if latency["valid"] else f"**invalid**: {'; '.join(latency['reasons'])}"
    return (
        f"ONNX Runtime, one thread, one text a call: alone {latency['classifier']['p50_ms']:.2f} ms, fused "
        f"{latency['fused']['p50_ms']:.2f} ms (medians), ratio {ratio['value']:.3f} [{ratio['low']:.3f}, "
        f"{ratio['high']:.3f}] over {latency['fused']['count']} interleaved pairs; {worth}."
    )


def told(record: dict[str, Any], source: Source) -> str:
    """How it was measured."""
    classifier, promise, parity = (record[name] for name in ("classifier", "guarantee", "parity"))
    students = "; ".join(
        f"{name}: {each['steps']} steps on {each['texts']} texts, {each['seconds']:.1f} s"
        for name, each in record["students"].items()
    )
    agreement = (
        "F1 and IoU: of as many best tokens as the given reason has. " if known(record["methods"], ["f1"]) else ""
    )
    met = "met" if promise["met"] else f"not met, {promise['lower_bound']:.1%} can be promised"
    return (
        f"{record['texts']} {source.texts}. Classifier: {source.classifier}, "
        f"{classifier['parameters']:,} parameters, right on {classifier['accuracy']:.1%} of "
        f"{classifier['accuracy_texts']} others. Head: {record['head_parameters']:,} parameters. Processor time of "
        f"training, equal by design, masks that are copied included: {students}. "
        f"{marc_told(record['marc'])}. Figures in points of 100, means with 95 % bootstrap intervals over texts; "
        "sufficiency and comprehensiveness are ERASER's AOPC over the best 1, 5, 10, 20 and 50 % of the tokens, taken "
        f"out, or replaced by PAD, which is what student and MaRC optimise. {agreement}Threshold "
        f"{record['threshold']:.3f}: the rationale alone, PAD elsewhere, keeps "
        f"{promise['retention']:.1%} of {promise['n']} held-out decisions with {promise['mean_area']:.1%} of the "
        f"tokens; at least {1 - promise['alpha']:.0%} at confidence {1 - promise['delta']:.0%}: {met}. ONNX Runtime "
        f"against torch on these texts: top-1 {parity['parity_top1_agreement']:.1%}, mask IoU "
        f"{parity['parity_mask_iou']:.4f}. "
        "Processor ms a text: medians, the classifier's own pass included, MaRC's with its hundreds. "
        f"{record['cpu']}, {record['threads']} thread(s), beside other work; torch {record['torch']}, seed "
        f"{record['seed']}; one seed of training, so that intervals say nothing of another."
    )
