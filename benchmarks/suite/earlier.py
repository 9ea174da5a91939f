"""What an earlier evaluation of the same classifier says of other maps, taken over instead of measured again.

A map that perturbs or optimises costs up to a thousand passes a picture, and does not depend on the explainer: once the
explainer is trained again, that map is still the same. So it is made for a few pictures (`--costly`), and what an
earlier record says of the others fills the gaps. Four things keep that honest: classifier, input, seed, pictures and
the words for map and column have to be the same; columns that are cut at the area of the graph's own mask are never
taken over; on the pictures that were measured again both have to agree; and the record says what was taken.

Letters: n pictures of a set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from whymask.benchmarks.suite.record import DIGITS, Record
from whymask.runtime.errors import ArtefactError

SAME_CARD = ("classifier_sha256", "height", "width", "resize", "fill")
"""What of the two graphs' cards has to be the same."""
MOST_APART = 0.08
"""Mean difference of a map's figures where both measured them, over pictures and columns, which are all in [−1, 1].

The same picture in a batch of another size answers a little differently, a class near a tie falls to the other side,
and a hundred steps of optimisation enlarge what was rounding: on SqueezeNet RISE was 0.000 from itself, an optimised
map 0.02 to 0.05, and any two costly methods at least 0.11 from each other.
"""

WITHOUT = "evaluate without --earlier"

Row = list[float | int | None]
"""Numbers of one map in one column, (n), as the record has them."""


class Taken(NamedTuple):
    """What was taken over for one map of a set.

    Attributes:
        map: its name.
        pictures: whose numbers were taken.
        shared: pictures that both measured.
        apart: mean difference of the figures in these.
    """

    map: str
    pictures: int
    shared: int
    apart: float


def check_earlier(earlier: Record, card: Record, seed: int, sets: Collection[str], name: str) -> None:
    """Refuse a record of other work, before anything is measured.

    Args:
        earlier: from `read_record`.
        card: `card_summary` of the graph that is to be judged.
        seed: of the evaluation.
        sets: names of its sets.
        name: of the earlier record's file, for messages.

    Raises:
        ArtefactError: another classifier, input, fill or seed, or a set that the record does not have.
    """
    its = earlier["graph"]["card"]
    other = [key for key in SAME_CARD if card[key] != its[key]] + ["seed"] * (seed != earlier["method"]["seed"])
    if other:
        raise ArtefactError(
            f"{name}: an evaluation with another {', '.join(other)}; expected one of the same classifier, judged the "
            "same way"
        )
    absent = set(sets) - {each["name"] for each in earlier["sets"]}
    if absent:
        raise ArtefactError(f"{name}: has no set {', '.join(sorted(absent))}; {WITHOUT}")


def filled_from(record: dict[str, Any], earlier: Record, name: str) -> dict[str, Any]:
    """The record with its gaps filled from an earlier one; `method.earlier` says what was taken.

    Args:
        record: of an evaluation whose costly maps were made for some pictures; it is changed.
        earlier: that `check_earlier` has seen.
        name: of the earlier record's file, for messages.

    Raises:
        ArtefactError: a set is of other pictures, there is nothing to take, or the two disagree where both measured.
    """
    sets = {each["name"]: each for each in earlier["sets"]}
    taken: dict[str, list[dict[str, Any]]] = {}
    for each in record["sets"]:
        before = sets[each["name"]]
        if before["files"] != each["files"]:
            raise ArtefactError(f"{name}: {each['name']} is of other pictures there; {WITHOUT}")
        taken[each["name"]] = [row._asdict() for row in _fill_set(record, each, earlier, before, name)]
    if not any(taken.values()):
        raise ArtefactError(f"{name}: holds nothing that was not measured here; {WITHOUT}")
    record["method"]["earlier"] = {
        "graph": earlier["graph"]["sha256"],
        "command": earlier["command"],
        "earlier": earlier["method"].get("earlier"),
        "taken": taken,
    }
    return record


def words_of_earlier(record: Record) -> str:
    """What was taken over, in a sentence; empty where nothing was."""
    told = record["method"].get("earlier")
    if told is None:
        return ""
    rows = [row for rows in told["taken"].values() for row in rows]
    names = ", ".join(dict.fromkeys(row["map"] for row in rows))
    return (
        f"Costly maps ({names}) were made for {rows[0]['shared']} pictures a set; what does not depend on the graph's "
        f"own mask is taken over for the others from an earlier evaluation of the same classifier (graph "
        f"{told['graph'][:12]}), from which they differ by at most {max(row['apart'] for row in rows):.3f} on average."
    )


def _fill_set(record: Record, now: Record, earlier: Record, before: Record, name: str) -> Iterator[Taken]:
    """Fill the costly maps of a set that both records describe in the same words."""
    columns = _same_columns(record, earlier)
    for map_name, told in record["method"]["maps"].items():
        was = earlier["method"]["maps"].get(map_name, {})
        if not told["costly"] or was.get("stated") != told["stated"]:
            continue
        mine, its = now["cells"].get(map_name, {}), before["cells"].get(map_name, {})
        # A set without truth has not the columns that another set of the same record has.
        rows = {column: mine[column] for column in columns if column in mine and column in its}
        olds = {column: its[column] for column in rows}
        gaps = [place for place, values in enumerate(zip(*rows.values(), strict=True)) if set(values) == {None}]
        apart, shared = _apart(rows, olds, gaps, f"{name}: {now['name']}, {map_name}")
        for column, row in rows.items():
            for place in gaps:
                row[place] = olds[column][place]
        if gaps:
            yield Taken(map_name, len(gaps), shared, apart)


def _same_columns(record: Record, earlier: Record) -> list[str]:
    """Columns that both define alike, and that do not depend on the graph's own mask."""
    mine, its = record["method"]["columns"], earlier["method"]["columns"]
    return [
        column
        for column, told in mine.items()
        if not told["at_own_area"] and its.get(column, {}).get("stated") == told["stated"]
    ]


def _apart(rows: dict[str, Row], olds: dict[str, Row], gaps: list[int], where: str) -> tuple[float, int]:
    """Mean difference of all columns over the pictures without a gap, and how many these are.

    Raises:
        ArtefactError: it is more than rounding makes, or no picture was measured by both.
    """
    measured = [place for place in range(len(next(iter(rows.values()), []))) if place not in gaps]
    pairs = [(row[place], olds[column][place]) for column, row in rows.items() for place in measured]
    known = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
    if rows and not len(known):
        raise ArtefactError(f"{where}: no picture was measured in both; {WITHOUT}")
    apart = float(np.abs(known[:, 0] - known[:, 1]).mean()) if len(known) else 0.0
    if apart > MOST_APART:
        raise ArtefactError(
            f"{where}: differs by {apart:.3f} on average from what is measured here, at most {MOST_APART} is rounding; "
            f"{WITHOUT}"
        )
    return round(apart, DIGITS), len(measured)
