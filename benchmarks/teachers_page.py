"""The study of teachers in words: what each student was taught, what that took, and how it does beside direct runs."""

from __future__ import annotations

from collections.abc import Sequence

from whymask.benchmarks.tables import table
from whymask.benchmarks.variants import Row, Study
from whymask.benchmarks.variants_page import BETTER, WORSE, cell, paired, study_page, verdict


def verdict_table(study: Study) -> str:
    """A row a student: what it was taught, what that took, and how it does beside direct training."""
    rows = [_verdict_row(row, study) for row in study.rows]
    head = [
        "run",
        "taught pictures × steps",
        "own steps",
        "teacher, s",
        "student, s",
        "retention, minus direct",
        "verdict",
    ]
    return table(head, rows)


def _verdict_row(row: Row, study: Study) -> list[str]:
    facts = row.facts[0]
    taught = "teacher_images" in facts
    lesson = f"{facts['teacher_images']} × {facts['teacher_steps']}" if taught else ""
    teacher = f"{facts['teacher_cpu_seconds']:.0f}" if taught else ""
    times = [lesson, str(facts["steps"]), teacher, f"{facts['cpu_seconds']:.0f}"]
    if row is study.reference:
        return [row.variant.name, *times, "", ""]
    column = study.columns[0]
    words = {BETTER: "better than direct", WORSE: "**worse than direct**"}
    said = words.get(verdict(row, study.reference, column), "not told apart")
    return [row.variant.name, *times, cell(paired(row, study.reference, column.name)), said]


def page(studies: Sequence[Study]) -> str:
    """The page of all bases."""
    return "\n".join(_section(study) for study in studies)


def _section(study: Study) -> str:
    head = (
        f"# Teachers on {study.base}\n\nThe ranking is learned from a per-image method's maps, or directly from the "
        "classifier. Equal time: teacher and student together take what direct training takes, but in the rows `not "
        "counted`, where the student takes it alone. Seconds are the processor's; student's with the last validation. "
        "`then direct`: half of the student's steps learn from the teacher, the other half from the classifier."
    )
    return study_page(study, head, verdict_table(study))
