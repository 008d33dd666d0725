"""A full disk and a folder that takes no files: a message, exit code 2, and nothing lost."""

from __future__ import annotations

import hashlib
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import environment, tiny_folder

TINY = ("--epochs", "1", "--image-size", "32", "--set", "recipe.width=0.1", "--seeds", "1", "--jobs", "1")


def run(place: Path, *arguments: str, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wsl_bench.cli.main", "run", "--datasets", "images", *TINY, *arguments],
        cwd=place, env=environment({}), capture_output=True, text=True, timeout=900, preexec_fn=before, check=False,
    )  # fmt: skip


def no_file_above(n_bytes: int) -> Callable[[], None]:
    """As on a full disk, every larger write fails with an OSError, in the command and in its workers."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return limit


def files(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_full_disk(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "images")
    first = run(tmp_path, "--methods", "whole_image", before=no_file_above(20_000))
    assert first.returncode == 2, first.stderr
    assert "File too large" in first.stderr
    assert "pixels.u8" in first.stderr
    assert "Traceback" not in first.stderr
    whole = run(tmp_path, "--methods", "whole_image")
    assert whole.returncode == 0, whole.stderr
    records = files(tmp_path / "runs" / "images" / "records")
    # The data is prepared; now the weights of a training do not fit any more: its cell fails, the rest stays.
    more = run(tmp_path, "--methods", "featuremask", before=no_file_above(15_000))
    assert more.returncode in (1, 2), more.stdout + more.stderr
    assert "File too large" in more.stderr
    assert "Traceback" not in more.stderr
    assert records.items() <= files(tmp_path / "runs" / "images" / "records").items()
    done = run(tmp_path, "--methods", "featuremask", "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert "featuremask" in (tmp_path / "runs" / "images" / "leaderboard.csv").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that takes no files from anybody")
def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "images")
    before = files(tmp_path)
    result = run(tmp_path, "--methods", "whole_image", "--out", "/proc/wslbench")
    assert result.returncode == 2
    assert "--out /proc/wslbench: cannot be made" in result.stderr
    assert "Traceback" not in result.stderr
    assert files(tmp_path) == before
