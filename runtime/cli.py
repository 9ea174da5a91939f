"""The root of the command line. Other parts add their commands by the entry-point group `whymask.commands`.

An entry is a plain function with type hints that typer can turn into a command. Its docstring is its help, up to the
first of Args, Returns and Raises; the lines under `Example:` are shown as they are.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from whymask.runtime.errors import MissingExtra, WhymaskError

if TYPE_CHECKING:
    import typer

COMMAND_GROUP = "whymask.commands"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it."""


def main() -> None:
    """Run the command line. A WhymaskError's message goes alone to standard error, with exit code 1."""
    try:
        import typer  # noqa: F401
    except ImportError:
        sys.stderr.write(f"{MissingExtra('typer', 'cli', 'run the whymask command')}\n")
        sys.exit(1)
    build_app()(prog_name="whymask")


def build_app() -> typer.Typer:
    """The root command with all commands of the parts that are installed."""
    import typer

    from whymask.runtime import commands

    app = typer.Typer(
        name="whymask",
        no_args_is_help=True,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(_root_command())
    found = {entry.name: entry for entry in importlib.metadata.entry_points(group=COMMAND_GROUP)}
    for name in ("demo", "train", "export", "build"):
        _add(app, found.pop(name, None))
    for function in (commands.explain, commands.inspect, commands.doctor):
        app.command(function.__name__, help=help_text(function))(guarded(function))
    for entry in found.values():
        _add(app, entry)
    return app


def _root_command() -> Callable[..., None]:
    import typer

    def root(
        version: bool = typer.Option(False, "--version", is_eager=True, help="Print the version and exit."),
    ) -> None:
        if version:
            typer.echo(importlib.metadata.version("whymask"))
            raise typer.Exit

    # Set by hand: with postponed annotations typer would look for `typer` among this module's own names.
    root.__annotations__["version"] = bool
    root.__doc__ = "Say what an image shows and which pixels decided it, in one graph and one forward pass."
    return root


def help_text(function: Callable[..., Any]) -> str:
    r"""A command's help from its docstring; a line with \b keeps the example's lines as they are.

    Args:
        function: the command.
    """
    text = re.split(r"\n(?:Args|Returns|Raises):\n", inspect.getdoc(function) or "")[0]
    return text.replace("\nExample:\n", "\n\b\nExample:\n").rstrip()


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose WhymaskError ends the program with its message alone, and Ctrl-C with exit code 130.

    So does a path that the system refuses to look at: too long a name, or a folder that may not be entered.

    Args:
        function: the command.
    """

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        import typer

        try:
            return function(*arguments, **options)
        except WhymaskError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
        except OSError as error:
            if not isinstance(error.filename, (str, bytes)):
                raise
            reason = f"cannot be read ({error.strerror}); give a path that exists and may be read"
            typer.echo(f"{os.fsdecode(error.filename)}: {reason}", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error

    return command


def _add(app: typer.Typer, entry: importlib.metadata.EntryPoint | None) -> None:
    if entry is None:
        return
    try:
        function = entry.load()
    except ImportError as error:
        function = _broken(entry.name, error)
    app.command(entry.name, help=help_text(function))(guarded(function))


def _broken(name: str, reason: ImportError) -> Callable[[], None]:
    """A command that says why it cannot run: one part that does not import must not take the others along."""

    def command() -> None:
        raise WhymaskError(f"whymask {name} does not load here: {reason}") from reason

    command.__doc__ = f"(does not load here: {reason})"
    return command


if __name__ == "__main__":
    main()
