"""Steps of a study: each a command in a process of its own, its outcome a file, so that a study can be taken up again.

A step that fails, crashes or takes too long is an outcome like any other, and the steps that do not need it go on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically
from whymask.runtime.from_json import dataclass_from_record, record_from_json

OUTCOME_SCHEMA = 1
OK, FAILED, ABSENT, NOT_RUN = "ok", "failed", "absent", "not run"
"""Done; failed; an optional step that this machine cannot do; not tried, since a step that it needs is not done."""
REASON_LINES = 3
"""Lines of what a failed command wrote last that are kept as its reason."""
REFUSED, TIMED_OUT = 1, 124
"""Exit codes of a command that says why it cannot, and of one that was stopped."""
FOLDERS = re.compile(r"(?<![\w/:])/(?:[^\s/:'\"]+/)*([^\s/:'\"]+)")
"""An absolute path; its last part is all that a record keeps of it."""

Read = Callable[[str], Any]
"""From a command's standard output to its result."""


@dataclass(frozen=True)
class Step:
    """One command of a study.

    Attributes:
        name: unique, of letters, digits, `-` and `.`; the outcome's file bears it.
        command: the whole command line.
        needs: names of steps whose files it reads.
        makes: files that it leaves for others.
        read: makes the result of its standard output.
        optional: its refusal (exit code 1) says that this machine cannot do it, and is no failure of the study.
        seconds: time limit.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    makes: tuple[Path, ...] = ()
    read: Read = lambda output: None
    optional: bool = False
    seconds: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
        step: its name.
        state: `ok`, `failed`, `absent` or `not run`.
        reason: why it is not `ok`; empty where it is.
        command: as given, folders left out.
        seconds: that it took.
        result: what it told, as its `read` made it; None where it told nothing.
        schema: of this record.
    """

    step: str
    state: str
    reason: str
    command: str
    seconds: float
    result: Any
    schema: int = OUTCOME_SCHEMA


Run = Callable[[Sequence[str], float], "subprocess.CompletedProcess[str]"]


def run_command(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it writes; one that takes too long is stopped and exits with 124."""
    # An old whymask.egg-info in the current folder would hide commands from `python -m`; Python 3.11 can leave it out.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, TIMED_OUT, "", f"stopped after {seconds:g} s")


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    again: bool = False,
    run: Run = run_command,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> dict[str, Outcome]:
    """Run all steps that have to be run, in order, and keep each outcome as soon as it is there.

    Args:
        steps: each after those that it needs.
        folder: of the outcomes, one JSON file a step.
        again: run every step, whatever is there.
        run: runs a command.
        on_outcome: told of each step that was run.

    Returns:
        the outcome of every step, in order.
    """
    known = {} if again else read_outcomes(steps, folder)
    due = steps_due(steps, known)
    outcomes: dict[str, Outcome] = {}
    for step in steps:
        if step.name not in due:
            outcomes[step.name] = known[step.name]
            continue
        missing = [outcomes[name] for name in step.needs if outcomes[name].state != OK]
        outcome = _not_run(step, missing[0]) if missing else _outcome(step, run)
        write_atomically(outcome_path(folder, step.name), json.dumps(dataclasses.asdict(outcome), indent=1) + "\n")
        outcomes[step.name] = outcome
        on_outcome(outcome)
    return outcomes


def steps_due(steps: Sequence[Step], known: Mapping[str, Outcome]) -> set[str]:
    """Names of the steps to run: those not done, and those done whose files are gone while one to run needs them.

    Args:
        steps: each after those that it needs.
        known: outcomes of former runs.
    """
    due = {step.name for step in steps if step.name not in known or known[step.name].state != OK}
    for step in reversed(steps):
        wanted = any(step.name in other.needs for other in steps if other.name in due)
        if wanted and not all(path.exists() for path in step.makes):
            due.add(step.name)
    return due


def outcome_path(folder: Path, name: str) -> Path:
    """The file that keeps a step's outcome."""
    return folder / f"{name}.json"


def read_outcomes(steps: Sequence[Step], folder: Path) -> dict[str, Outcome]:
    """Outcomes of former runs, by step.

    Raises:
        ArtefactError: a file there is not an outcome.
    """
    paths = {step.name: outcome_path(folder, step.name) for step in steps}
    return {name: _read(path) for name, path in paths.items() if path.is_file()}


def _read(path: Path) -> Outcome:
    try:
        record = record_from_json(path.read_text(encoding="utf-8"), "outcome", OUTCOME_SCHEMA, "run it --again")
        return dataclass_from_record(Outcome, "outcome", record)
    except (ArtefactError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: {error}; remove this file, and its step is run again") from None


def _not_run(step: Step, missing: Outcome) -> Outcome:
    """A step that cannot run; where what it needs is absent from this machine, it is so itself."""
    state = ABSENT if missing.state == ABSENT else NOT_RUN
    return Outcome(step.name, state, f"needs {missing.step}, which is {missing.state}", shown(step.command), 0.0, None)


def _outcome(step: Step, run: Run) -> Outcome:
    start = time.perf_counter()
    done = run(step.command, step.seconds)
    seconds = round(time.perf_counter() - start, 1)
    state, reason, result = OK, "", None
    if done.returncode != 0:
        # A crash, or a command line that is wrong, says nothing about what the machine can do.
        refused = step.optional and done.returncode == REFUSED
        state, reason = ABSENT if refused else FAILED, _reason(done)
    try:
        result = step.read(done.stdout)
    except (ArtefactError, ValueError, KeyError, OSError) as error:
        # A command that failed may have told its figures before, as `whymask verify` does, or nothing.
        if state == OK:
            state, reason = FAILED, f"its result cannot be read: {type(error).__name__}: {error}"
    return Outcome(step.name, state, reason, shown(step.command), seconds, result)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a command failed: its last words, and the signal that ended it."""
    ended = f"ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"exit {done.returncode}"
    said = [line.strip() for line in (done.stderr.strip() or done.stdout).splitlines() if line.strip()]
    return ": ".join([ended, *([FOLDERS.sub(r"\1", " ".join(said[-REASON_LINES:]))] if said else [])])


def shown(command: Sequence[str]) -> str:
    """A command line without the folders of this machine, so that a record can travel."""
    return shlex.join("/".join(Path(word).parts[-2:]) if Path(word).is_absolute() else word for word in command)
