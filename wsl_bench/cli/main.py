"""The `wslbench` command and what becomes of errors: a line the user can act on, and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from wsl_bench import __version__
from wsl_bench.cli import (
    compare,
    export,
    export_maps,
    figures,
    inspect,
    leaderboard,
    localize,
    overall,
    prepare,
    report,
    run,
    score,
    status,
    twin,
)
from wsl_bench.cli.console import errors
from wsl_bench.errors import WslBenchError

# Typer's errors are click's, or in newer versions those of the copy it carries; this finds either.
_CLICK_ERROR = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

INTERRUPTED = 130

app = typer.Typer(
    name="wslbench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Benchmark weakly supervised localization: one protocol, thresholds fitted on validation only.",
    epilog="Exit codes: 0 done, 1 some cells failed, 2 usage or input, 130 interrupted, 143 terminated.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wslbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Options of every command."""  # `--debug` is taken out before, so that it may stand anywhere


app.command("run")(run.run)
app.command("status")(status.status)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("compare")(compare.compare)
app.command("overall")(overall.overall)
app.command("figures")(figures.figures)
app.command("score")(score.score)
app.command("prepare")(prepare.prepare)
app.command("twin")(twin.twin)
app.command("report")(report.report)
app.command("localize")(localize.localize)
app.command("export")(export.export)
app.command("export-maps")(export_maps.export_maps)
app.command("methods")(inspect.methods)
app.command("datasets")(inspect.datasets)
app.command("check")(inspect.check)
app.command("doctor")(inspect.doctor)


class Terminated(BaseException):
    """SIGTERM, raised in the main thread so that workers are ended and the state is left whole."""


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def main() -> None:
    """Entry point of `wslbench`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks is shown by its code
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.exit(_guarded(sys.argv[1:]))


def _guarded(arguments: list[str]) -> int:
    """Run the command; every error becomes one message and its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        result = app(arguments, standalone_mode=False)
        if result == INTERRUPTED:  # newer typer turns Ctrl-C into this exit code
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except WslBenchError as error:
        if debug:
            raise
        errors.print(f"[bold red]Error:[/] {_escaped(str(error))}", soft_wrap=True)
        return error.exit_code
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        errors.print("Interrupted. Finished cells are kept; the same command continues.")
        return INTERRUPTED
    except Terminated:
        errors.print("Terminated. Finished cells are kept; the same command continues.")
        return 143
    except BrokenPipeError:  # the reader of our output has gone (`wslbench methods | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, _CLICK_ERROR):
            error.show()  # type: ignore[attr-defined]
            return 2
        if debug:
            raise
        if isinstance(error, OSError) and error.filename is not None:  # no room, no permission, a folder
            errors.print(f"[bold red]Error:[/] {_escaped(f'{error.filename}: {error.strerror}.')}", soft_wrap=True)
            return 2
        errors.print(
            f"[bold red]Internal error:[/] {type(error).__name__}: {_escaped(str(error))}\n"
            "This is a defect of wslbench; run again with --debug for the traceback and report it.",
            soft_wrap=True,
        )
        return 1


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
