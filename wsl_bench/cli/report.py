"""`wslbench report`: the page of a run, as one file or served on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    output: Annotated[Path | None, typer.Option(help="Folder to write to. Default: RUN/report.")] = None,
    serve: Annotated[bool, typer.Option(help="Serve the page on this machine alone until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0: any that is free.")] = 8000,
) -> None:
    """Write a page that shows a run: table, charts, test images under a threshold slider, protocol and origin.

    One HTML file with all its data in it; it opens from the disk and asks nothing of any server.
    """
    from wsl_bench.report.page.build import write_page

    page = write_page(run, output if output is not None else run / "report")
    console.print(f"Written to {escape(str(page))} ({page.stat().st_size / 1e6:.1f} MB).", soft_wrap=True)
    if serve:
        _serve(page.parent, port)


def _serve(folder: Path, port: int) -> None:
    import contextlib
    import functools
    import http.server

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/", "/index.html"):  # the page, and nothing else of its folder
                self.send_error(404)
                return
            with contextlib.suppress(ConnectionError):  # the reader has gone
                super().do_GET()

    handler = functools.partial(Quiet, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port}: cannot be served on ({error}). Choose another, or 0.") from None
    with server:
        console.print(f"http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            server.serve_forever()
