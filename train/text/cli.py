"""`whymask rationale`: the words that decided a text's class. Light to import: torch comes when the command runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable

    from whymask.train.text.marc import TextMarcConfig
    from whymask.train.text.reading import ReadableClassifier
    from whymask.train.text.record import Rationale

SUFFIXES = (".html", ".json")


def rationale(
    model: Annotated[
        str,
        typer.Option(
            metavar="DIR|NAME|FILE.onnx",
            help="Folder of a text classifier, whymask's or Hugging Face's; a name on its hub; or a graph of "
            "whymask export-text, which explains in one pass and needs no torch.",
        ),
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT|FILE", help="A text, or a UTF-8 file that holds one.")
    ] = None,
    rationales: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Judge against given rationales: JSON lines of text and spans."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a page (.html) or a record (.json).")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Class to explain. [default: the predicted one]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of optimisation. [default: 150; as published at most 900]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of flips and noise.")] = 0,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="The authors' settings, made for texts of hundreds of words.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Highlight the words that decided a text's class (MaRC, arXiv 2508.11388, or a trained explainer's one pass).

    Example: whymask rationale "The case is really sturdy." --model reviews -o why.html
    """
    if output is not None and output.suffix not in SUFFIXES:
        raise InputError(f"-o {output}: expected a file that ends with {' or '.join(SUFFIXES)}")
    if rationales is not None and output is not None and output.suffix != ".json":
        raise InputError(f"-o {output}: the agreement with given rationales is a record; give a name in .json")
    if (text is None) == (rationales is None):
        raise InputError("rationale: expected either a text or --rationales FILE")
    try:
        explain = explainer_of(model, target, steps, seed, as_published)
        if rationales is not None:
            _judge(rationales, explain, output, as_json)
            return
        found = explain(text_from_argument(str(text)))
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "explain a text") from None
    if output is not None:
        _write(found, output)
    if as_json:
        typer.echo(record_text(found), nl=False)
    else:
        _print(found, output)


def explainer_of(
    model: str, target: str | None, steps: int | None, seed: int, as_published: bool = False
) -> Callable[[str], Rationale]:
    """What explains one text: MaRC for a classifier, one pass for a graph.

    Raises:
        InputError: a graph is asked for another class than the predicted one, or told how to optimise.
        ArtefactError, MissingExtra: as `load_text_classifier` and `whymask.runtime.load_text` raise them.
    """
    if not model.endswith(".onnx"):
        classifier = load_text_classifier(model)
        config = config_of(steps, seed, as_published)
        return lambda text: _explained(classifier, text, target, config)
    if target is not None:
        raise InputError(f"--target {target}: {model} explains the predicted class alone; give a classifier's folder")
    if as_published or steps is not None:
        raise InputError(
            f"{'--as-published' if as_published else '--steps'}: {model} is a graph, whose one pass optimises nothing; "
            "leave it out, or give a classifier's folder"
        )
    from whymask.runtime.text_explainer import load_text
    from whymask.train.text.by_graph import rationale_from_graph

    explainer = load_text(model)
    return lambda text: rationale_from_graph(explainer, text)


def _judge(file: Path, explain: Callable[[str], Rationale], output: Path | None, as_json: bool) -> None:
    """Explain every text of a file of given rationales, and say how far both agree."""
    from whymask.train.text.given import judge, read_given

    given = read_given(file)
    with track(len(given), "rationales", "texts") as bar:
        record = judge(explain, given, on_text=bar.advance)
    told = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    if output is not None:
        write_atomically(output, told)
    if as_json:
        typer.echo(told, nl=False)
        return
    means = ", ".join(f"{name} {value:.3f}" for name, value in record["mean"].items())
    typer.echo(f"{record['n']} texts, tokens against {file}: {means}")


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


def load_text_classifier(model: str) -> ReadableClassifier:
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


def config_of(steps: int | None, seed: int, as_published: bool) -> TextMarcConfig:
    """MaRC's settings from what the command is told."""
    from whymask.train.text.marc import PUBLISHED, TextMarcConfig

    config = replace(PUBLISHED if as_published else TextMarcConfig(), seed=seed)
    return config if steps is None else replace(config, steps=steps)


def _explained(classifier: ReadableClassifier, text: str, target: str | None, config: TextMarcConfig) -> Rationale:
    from whymask.train.text.classifier import class_from_label
    from whymask.train.text.rationale import rationale_from_text

    asked = None if target is None else class_from_label(classifier, target)
    with track(config.steps, "rationale", "steps") as bar:
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
