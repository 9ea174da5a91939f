"""The study on a GPU as one page: machine, bars, latency, parity, every step with its reason where it is not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whymask.benchmarks.gpu.bars import Bar, figure, overhead_ms
from whymask.benchmarks.gpu.steps import OK, Outcome
from whymask.benchmarks.tables import table

BENCH_KIND = "whymask.bench"


def study_page(place: Mapping[str, Any], outcomes: Mapping[str, Outcome], bars: Sequence[Bar]) -> str:
    """The whole page, Markdown.

    Args:
        place: the machine and what the study ran with.
        outcomes: of all steps, by name.
        bars: as judged.
    """
    parts = ["# TensorRT on a GPU", _place_text(place), "## Bars", _bars_table(bars)]
    parts += ["## Latency", *_latency(outcomes), "## Parity", *_parity(outcomes)]
    return "\n\n".join([*parts, "## Steps", _steps_table(outcomes)]) + "\n"


def _place_text(place: Mapping[str, Any]) -> str:
    machine, gpu = place["machine"], place["gpu"]
    quick = ["**A quick run, not to be quoted.**"] if place["quick"] else []
    clocks = f"clocks unknown: {gpu['absent']}" if gpu["absent"] else f"clock {gpu['max_clock_mhz']} MHz at most"
    lines = [
        *quick,
        f"{', '.join(place['devices'])}; driver {gpu['driver'] or 'of unknown version'} for CUDA {place['cuda']}; "
        f"{clocks}; {machine['device'] or machine['cpu']}, {machine['cores']} cores, {machine['system']}.",
        f"Classifiers with {place['weights']}. {place['created']}.",
        ", ".join(f"{name} {version}" for name, version in place["versions"].items()) + ".",
    ]
    return "\n\n".join(lines)


def _bars_table(bars: Sequence[Bar]) -> str:
    rows = [[bar.classifier, bar.name, bar.asked, bar.got, "met" if bar.met else "**not met**"] for bar in bars]
    return table(("classifier", "bar", "asked", "got", ""), rows, left=5)


def _latency(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    records = {name: done.result for name, done in outcomes.items() if _is_bench(done)}
    if not records:
        yield "Nothing was timed."
        return
    head = ("step", "alone, p50 / p90 / p99 ms", "fused, p50 / p90 / p99 ms", "ratio", "Python adds", "valid")
    yield (
        "Milliseconds from host memory to host memory, both engines in one process, call by call in turn; in brackets "
        "the 95 % interval of the ratio of the medians."
    )
    yield table(head, [_latency_row(name, record) for name, record in records.items()])
    reasons = {
        name: "; ".join(record["verdict"]["reasons"]) for name, record in records.items() if not _is_valid(record)
    }
    if reasons:
        yield "\n".join(f"- {name} is not valid: {reason}." for name, reason in reasons.items())


def _latency_row(name: str, record: Mapping[str, Any]) -> list[str]:
    ratio = record["ratio"]
    added = f"{1e3 * overhead_ms(record):.1f} µs" if record["device_phases"] else ""
    interval = f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"
    times = [" / ".join(f"{record[which][f'p{p}_ms']:.3f}" for p in (50, 90, 99)) for which in ("classifier", "fused")]
    return [name, *times, interval, added, "yes" if _is_valid(record) else "no"]


def _parity(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    records = {name: done.result for name, done in outcomes.items() if "verify-" in name and done.result}
    if not records:
        yield "Nothing was verified."
        return
    names = {
        "top1_agreement_min": "top-1 agreement",
        "logits_max": "logits, max",
        "logits_p99": "logits, p99",
        "mask_iou_min": "mask IoU",
        "saliency_rank_min": "saliency rank",
    }
    rows = [
        [step, *(f"{figure(record, name):.5g}" for name in names), "passed" if record["passed"] else "**not passed**"]
        for step, record in records.items()
    ]
    yield table(("step", *names.values(), "by its card's tolerances"), rows)


def _steps_table(outcomes: Mapping[str, Outcome]) -> str:
    rows = [
        [done.step, done.state, f"{done.seconds:.1f}", _cell(done.reason), f"`{_cell(done.command)}`"]
        for done in outcomes.values()
    ]
    return table(("step", "state", "s", "reason", "command"), rows, left=5)


def _cell(text: str) -> str:
    """Text that does not end a table's cell or row."""
    return text.replace("|", "\\|").replace("\n", " ")


def _is_bench(done: Outcome) -> bool:
    return done.state == OK and isinstance(done.result, dict) and done.result.get("kind") == BENCH_KIND


def _is_valid(record: Mapping[str, Any]) -> bool:
    return bool(record["verdict"]["valid"])
