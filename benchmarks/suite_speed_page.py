"""The suite's speed as a Markdown page: minutes for a set of pictures, and images a second of each map and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whymask.benchmarks.suite.suite_tables import SPEED_HEAD, speed_rows
from whymask.benchmarks.tables import table
from whymask.runtime.progress import duration

KIND = "whymask.suite_speed"
SCHEMA_VERSION = 1
WHOLE_HEAD = (
    "classifier",
    "px",
    "threads",
    "pictures judged",
    "with costly maps",
    "took",
    "whole set",
    "its time",
    "valid",
)

Record = Mapping[str, Any]


def speed_page(records: Sequence[Record]) -> str:
    """The page of some records, one a classifier."""
    parts = [
        "# What the whole suite takes",
        "All maps and metrics of `whymask evaluate`, on classifiers of random weights. The time of the whole "
        "set is that of the judged pictures times their ratio: **extrapolated**, not measured. Where the last chunk "
        "leaves a thread without work, that weighs more in few pictures than in many. Made by `python -m "
        "whymask.benchmarks.suite_speed run`.",
        table(WHOLE_HEAD, [_whole_row(record) for record in records], left=1),
        "Images a second: where all threads do nothing else. Costly maps perturb or optimise a picture in 20 passes of "
        "the classifier or more.",
        *[_section(record) for record in records],
    ]
    return "\n\n".join(parts) + "\n"


def _whole_row(record: Record) -> list[str]:
    settings, verdict = record["settings"], record["verdict"]
    whole = f"{settings['of']}, {settings['costly']} with costly maps"
    row = [record["classifier"], str(settings["side"]), str(settings["threads"]), str(settings["pictures"])]
    row += [str(settings["costly_judged"]), duration(record["speed"]["seconds"]), whole]
    row += [duration(record["whole_set_seconds"])]
    return [*row, "yes" if verdict["valid"] else f"no: {'; '.join(verdict['reasons'])}"]


def _section(record: Record) -> str:
    machine, versions = record["machine"], record["versions"]
    judged = {"images": record["settings"]["pictures"], "speed": record["speed"]}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    left_out = "".join(f" Left out: {name} ({why})." for name, why in record["left_out"].items())
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {told}. {record['created']}. Masked "
        f"pictures are asked of {record['asked']}; the own masks keep {record['own_area']:.0%} on average.{left_out}"
    )
    return "\n\n".join([f"## {record['classifier']}", where, table(SPEED_HEAD, speed_rows(judged), left=2)])
