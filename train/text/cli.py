"""`whymask rationale`: the words that decided a text's class. Light to import: torch comes when the command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.train.text.classifier import TextClassifier
    from whymask.train.text.rationale import Rationale

SUFFIXES = (".html", ".json")


def rationale(
    text: Annotated[str, typer.Argument(metavar="TEXT|FILE", help="A text, or a UTF-8 file that holds one.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="DIR|NAME",
            help="Folder of a text classifier, whymask's or Hugging Face's; or a name on Hugging Face's hub.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a page (.html) or a record (.json).")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Class to explain. [default: the predicted one]")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of optimisation.")] = 150,
    seed: Annotated[int, typer.Option(help="Of flips and noise.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Highlight the words that decided a text's class (MaRC, arXiv 2508.11388).

    Example: whymask rationale "The case is really sturdy." --model reviews -o why.html
    """
    if output is not None and output.suffix not in SUFFIXES:
        raise InputError(f"-o {output}: expected a file that ends with {' or '.join(SUFFIXES)}")
    words = text_from_argument(text)
    try:
        found = _explained(load_text_classifier(model), words, target, steps, seed)
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "explain a text") from None
    if output is not None:
        _write(found, output)
    if as_json:
        typer.echo(record_text(found), nl=False)
    else:
        _print(found, output)


def text_from_argument(argument: str) -> str:
    """The text itself, or what the file of this name holds.

    Raises:
        InputError: a file that is no UTF-8, or a .txt file that is not there.
    """
    try:
        is_file = Path(argument).is_file()
    except (OSError, ValueError):  # longer than a path may be, or with a null character: a text
        is_file = False
    if not is_file:
        if argument.endswith(".txt") and not any(map(str.isspace, argument)):
            raise InputError(f"{argument}: no such file; give a text, or the name of a file that is there")
        return argument
    try:
        return Path(argument).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{argument}: cannot be read as UTF-8 text ({error}); give a plain text file") from None


def load_text_classifier(model: str) -> TextClassifier:
    """A folder that whymask wrote, or whatever `transformers` finds under the name.

    Raises:
        ArtefactError: it cannot be read.
        MissingExtra: it is no folder of whymask's, and transformers is not installed.
    """
    from whymask.train.text.hugging_face import load_hugging_face
    from whymask.train.text.transformer import DESCRIPTION, load_word_classifier

    if (Path(model) / DESCRIPTION).is_file():
        return load_word_classifier(Path(model))
    return load_hugging_face(model)


def record_text(found: Rationale) -> str:
    """The record as JSON text."""
    return json.dumps(found.to_record(), ensure_ascii=False, indent=1) + "\n"


def _explained(classifier: TextClassifier, text: str, target: str | None, steps: int, seed: int) -> Rationale:
    from whymask.train.text.classifier import class_from_label
    from whymask.train.text.marc import TextMarcConfig
    from whymask.train.text.rationale import rationale_from_text

    asked = None if target is None else class_from_label(classifier, target)
    with track(steps, "rationale", "steps") as bar:
        config = TextMarcConfig(steps=steps, seed=seed)
        return rationale_from_text(classifier, text, asked, config, on_step=lambda _: bar.advance())


def _write(found: Rationale, output: Path) -> None:
    from whymask.train.text.show import page

    write_atomically(output, page(found) if output.suffix == ".html" else record_text(found))


def _print(found: Rationale, output: Path | None) -> None:
    """The highlighted text, the sentence, and every span with its characters, on standard output."""
    from rich.console import Console

    from whymask.train.text.show import headline, rich_text

    console = Console(highlight=False, soft_wrap=True)
    console.print(rich_text(found))
    console.print(headline(found), markup=False, style="bold")
    for span in found.spans:
        console.print(f"· {span.start}–{span.end} ({span.weight:.2f}): {span.text!r}", markup=False)
    if not found.spans:
        console.print("· no word reaches the cut: nothing in this text holds the class", markup=False)
    if output is not None:
        console.print(f"· written: {output}", markup=False)
