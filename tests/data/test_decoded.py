"""Images decoded once: what is kept, what is noticed, what an interruption leaves, what damage does."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import environment, run_python, tiny_folder
from PIL import Image

from wsl_bench import params, registry
from wsl_bench.data import decode as decoding
from wsl_bench.data.cache import cache_folder
from wsl_bench.data.decode import How
from wsl_bench.data.decoded import INDEX, PIXELS, DecodedImages, map_pixels
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.images import read_grey
from wsl_bench.data.prepare import PreparedDataset, prepare
from wsl_bench.data.prepared import load_weak
from wsl_bench.data.samples import SPLITS
from wsl_bench.errors import DataError, StoreError, UsageError

SIZE = 16
WSLBENCH = ("-m", "wsl_bench.cli.main")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data", n=60)


def _dataset(root: Path, **values: Any) -> Any:
    return params.build(registry.discover("dataset").get("folder").cls, "folder", {"root": root, **values})


def _prepared(data: Path, cache: Path, **how: Any) -> PreparedDataset:
    return prepare("tiny", _dataset(data), SIZE, cache.parent / "run", cache=cache, how=How(**how))


def _count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Image ids, as they are decoded from now on in this process."""
    seen: list[str] = []
    decode_one = decoding._decode_one

    def counted(dataset: Any, sample: Any, size: int) -> Any:
        seen.append(sample.image_id)
        return decode_one(dataset, sample, size)

    monkeypatch.setattr(decoding, "_decode_one", counted)
    return seen


def _check_images(prepared: PreparedDataset, data: Path) -> None:
    """Every image of every split is its file's, decoded here."""
    for split in SPLITS:
        weak = load_weak(prepared.folder, split)
        assert len(weak.image_ids) == len(prepared.manifest.of(split)) > 0
        for name, image, frame in zip(weak.image_ids, weak.images, weak.frames, strict=True):
            np.testing.assert_array_equal(image, frame.apply(read_grey(data / "images" / f"{name}.png")))


def test_images_are_decoded_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _count_decoded(monkeypatch)
    first = _prepared(data, tmp_path / "cache")
    assert len(seen) == 60
    before = {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()}
    second = _prepared(data, tmp_path / "cache")
    assert len(seen) == 60
    assert (first.folder, first.hashes) == (second.folder, second.hashes)
    assert {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()} == before
    _check_images(second, data)
    assert len({p.name for p in first.folder.iterdir()} & {PIXELS}) == 0  # kept in one place


def test_what_is_kept_gives_the_hashes_and_pixels_of_a_decoding_that_keeps_nothing(data: Path, tmp_path: Path) -> None:
    _prepared(data, tmp_path / "cache")
    kept = _prepared(data, tmp_path / "cache")
    anew = prepare("tiny", _dataset(data), SIZE, tmp_path / "anew")
    assert kept.hashes == anew.hashes
    for split in SPLITS:
        a, b = load_weak(kept.folder, split), load_weak(anew.folder, split)
        np.testing.assert_array_equal(a.images[:], b.images[:])
        assert a.pixel_moments() == b.pixel_moments()


def test_datasets_that_only_select_otherwise_share_images(data: Path, tmp_path: Path) -> None:
    entry = registry.discover("dataset").get("folder")
    same = [
        cache_folder("folder", entry.source_hash(), _dataset(data, **values), SIZE)
        for values in ({}, {"split_column": False}, {"follow_links": True})
    ]
    assert len(set(same)) == 1
    shutil.copytree(data, tmp_path / "other")
    assert cache_folder("folder", entry.source_hash(), _dataset(tmp_path / "other"), SIZE) != same[0]
    assert cache_folder("folder", entry.source_hash(), _dataset(data), SIZE + 1) != same[0]
    assert cache_folder("folder", "other source", _dataset(data), SIZE) != same[0]
    # With the first split, then another: the rows of a split no longer lie together, and are found all the same.
    _prepared(data, tmp_path / "cache")
    mixed = prepare("tiny", _dataset(data, split_column=False), SIZE, tmp_path / "run", cache=tmp_path / "cache")
    _check_images(mixed, data)


class Stopped(BaseException):
    """As Ctrl-C is: no Exception."""


@pytest.mark.parametrize("after", [1, 7, 25, 59])
def test_an_interruption_keeps_what_was_decoded(
    data: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_FLUSHED", 5)

    def stop(done: int, total: int) -> None:
        if done == after:
            raise Stopped

    with pytest.raises(Stopped):
        _prepared(data, tmp_path / "cache", progress=stop)
    seen = _count_decoded(monkeypatch)
    prepared = _prepared(data, tmp_path / "cache")
    assert len(seen) == 60 - after
    _check_images(prepared, data)


def test_a_corrupt_image_loses_nothing_of_the_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = data / "images" / "case030.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:50])
    with pytest.raises(DataError, match="case030"):
        _prepared(data, tmp_path / "cache")
    broken.write_bytes(whole)
    seen = _count_decoded(monkeypatch)
    prepared = _prepared(data, tmp_path / "cache")
    assert len(seen) == 30  # in the order of ids; from the broken one on
    _check_images(prepared, data)


def _other_picture(file: Path) -> None:
    pixels = np.asarray(Image.open(file)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(file)


def _same_size_and_times(file: Path) -> None:
    status = file.stat()
    _other_picture(file)
    content = file.read_bytes()
    file.write_bytes(content[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _exchanged(file: Path) -> None:
    other = file.with_name("case011.png")
    shutil.copy2(other, file)


@pytest.mark.parametrize("change", [_other_picture, _same_size_and_times, _exchanged])
def test_a_changed_file_is_noticed(data: Path, tmp_path: Path, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _prepared(data, tmp_path / "cache")
    change(data / "images" / "case010.png")
    seen, said = _count_decoded(monkeypatch), list[str]()
    after = _prepared(data, tmp_path / "cache", say=said.append)
    assert seen == ["case010"]
    assert said[0] == "1 of 60 image files have changed since they were decoded; decoded again."
    assert {part for part in after.hashes if after.hashes[part] != before.hashes[part]} == {"train"}
    _check_images(after, data)
    assert len(load_weak(before.folder, "train").images[:]) == 24  # what a run at work has open is as it was


def test_another_file_with_the_same_size_and_times_is_noticed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """labels.csv names another file for an image; on a coarse clock the two may look alike."""
    table = data / "labels.csv"
    shutil.copy(data / "images" / "case011.png", data / "images" / "other.png")
    _prepared(data, tmp_path / "cache")
    monkeypatch.setattr(decoding.Source, "is_now", lambda self, path, status: self.path == str(path.absolute()))
    table.write_text(table.read_text().replace("case010,images/case010.png", "case010,images/other.png"))
    seen = _count_decoded(monkeypatch)
    prepared = _prepared(data, tmp_path / "cache")
    assert seen == ["case010"]
    weak = load_weak(prepared.folder, "train")
    image, frame = weak.images[weak.image_ids.index("case010")], weak.frames[0]
    np.testing.assert_array_equal(image, frame.apply(read_grey(data / "images" / "other.png")))


def test_a_file_that_was_only_touched_is_not_decoded_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _prepared(data, tmp_path / "cache")
    (data / "images" / "case010.png").touch()
    seen, said = _count_decoded(monkeypatch), list[str]()
    assert _prepared(data, tmp_path / "cache", say=said.append).folder == before.folder
    assert seen == said == []
    hashed = list[Path]()
    monkeypatch.setattr(decoding, "_source", lambda path: hashed.append(path))
    _prepared(data, tmp_path / "cache")
    assert not hashed  # its new times are kept


def test_a_file_that_is_gone_is_an_error(data: Path, tmp_path: Path) -> None:
    _prepared(data, tmp_path / "cache")
    (data / "images" / "case010.png").unlink()
    with pytest.raises(DataError, match=r"case010.png.*no such file"):
        _prepared(data, tmp_path / "cache")


def _torn_line(cache: Path) -> None:
    index = cache / INDEX
    index.write_bytes(index.read_bytes()[:-30])


def _flipped_line(cache: Path) -> None:
    index = cache / INDEX
    lines = index.read_bytes().split(b"\n")
    lines[3] = lines[3].replace(b'"row":3', b'"row":5')
    index.write_bytes(b"\n".join(lines))


def _cut_pixels(cache: Path) -> None:
    os.truncate(cache / PIXELS, 40 * SIZE**2 + 7)


def _no_pixels(cache: Path) -> None:
    (cache / PIXELS).unlink()


def _no_index(cache: Path) -> None:
    (cache / INDEX).unlink()


def test_lines_of_pixels_that_are_gone_are_forgotten(data: Path, tmp_path: Path) -> None:
    """Else, after an interruption, an image would be looked for in a row that another has come to lie in."""
    _prepared(data, tmp_path / "cache")
    (tmp_path / "cache" / PIXELS).unlink()
    dataset = _dataset(data)
    turned = prepare("tiny", dataset, SIZE, tmp_path / "anew").manifest.samples[::-1]
    decoding.decode(dataset, turned[:30], SIZE, DecodedImages(tmp_path / "cache", SIZE), How())
    assert len(DecodedImages(tmp_path / "cache", SIZE).entries) == 30
    _check_images(_prepared(data, tmp_path / "cache"), data)


@pytest.mark.parametrize(
    ("damage", "again"), [(_torn_line, 1), (_flipped_line, 1), (_cut_pixels, 20), (_no_pixels, 60), (_no_index, 60)]
)
def test_what_is_damaged_is_decoded_again(
    data: Path, tmp_path: Path, damage: Any, again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prepared(data, tmp_path / "cache")
    damage(tmp_path / "cache")
    seen = _count_decoded(monkeypatch)
    # Of a cut file the last row is a part: it counts as gone, and its place is not used again.
    prepared = _prepared(data, tmp_path / "cache")
    assert len(seen) == again
    _check_images(prepared, data)
    assert len(DecodedImages(tmp_path / "cache", SIZE).entries) == 60


def test_other_pixels_than_were_written_are_told_and_name_the_image(data: Path, tmp_path: Path) -> None:
    prepared = _prepared(data, tmp_path / "cache")
    row = DecodedImages(tmp_path / "cache", SIZE).entries["case050"].row  # of test
    with (tmp_path / "cache" / PIXELS).open("r+b") as file:
        file.seek(row * SIZE**2 + 5)
        byte = file.read(1)[0]
        file.seek(row * SIZE**2 + 5)
        file.write(bytes([byte ^ 4]))
    load_weak(prepared.folder, "train")
    with pytest.raises(StoreError, match=r"other pixels of 'case050' than were written.*Remove "):
        load_weak(prepared.folder, "test")
    (tmp_path / "cache" / PIXELS).unlink()
    with pytest.raises(StoreError, match=r"No such file.*Remove "):
        load_weak(prepared.folder, "test")


def test_worker_processes_give_the_same_files(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "many", n=260)
    (data / "images" / "case100.png").write_bytes(b"no image")
    named = ("folder", {"root": data})
    one = _prepared(data, tmp_path / "one", skip_corrupt=True)
    two = _prepared(data, tmp_path / "two", skip_corrupt=True, n_workers=2, registered=named)
    assert one.hashes == two.hashes
    assert one.skipped == two.skipped
    assert one.skipped.keys() == {"case100"}
    for name in (PIXELS, INDEX):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with pytest.raises(DataError, match=r"case100\.png: expected a readable 8-bit image, found UnidentifiedImageError"):
        _prepared(data, tmp_path / "three", n_workers=2, registered=named)


def test_a_worker_that_is_killed_is_told_and_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_folder(tmp_path / "many", n=400)
    named = ("folder", {"root": data})

    def kill(done: int, total: int) -> None:
        if done == 40:
            for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
                for pid in child.read_text().split():
                    if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(int(pid), signal.SIGKILL)

    with pytest.raises(UsageError, match=r"a process that decodes images was ended.*continues"):
        _prepared(data, tmp_path / "cache", n_workers=2, registered=named, progress=kill)
    assert len(DecodedImages(tmp_path / "cache", SIZE).entries) >= 40
    _check_images(_prepared(data, tmp_path / "cache", n_workers=2, registered=named), data)


def test_room_is_stated_first_and_refused_where_there_is_too_little(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda path: SimpleNamespace(free=60 * SIZE**2 - 1))
    with pytest.raises(UsageError, match=r"of room for 60 decoded images.*WSLBENCH_CACHE"):
        _prepared(data, tmp_path / "cache", say=said.append)
    assert not (tmp_path / "cache" / PIXELS).exists()
    assert said[0].startswith(f"60 images to decode to {SIZE} x {SIZE} pixels: 0.00 GB in {tmp_path / 'cache'}")


def test_an_index_that_lies_about_rows_shows_no_other_image(data: Path, tmp_path: Path) -> None:
    """Checksums of lines keep accidents out; a line made on purpose is found by the checksum of its pixels."""
    _prepared(data, tmp_path / "cache")
    index = tmp_path / "cache" / INDEX
    lines = index.read_bytes().splitlines()
    for row in (7, 59, -1, 60, 10**18):
        fields = json.loads(lines[3].partition(b" ")[2]) | {"row": row}
        text = json.dumps(fields, separators=(",", ":")).encode()
        index.write_bytes(b"\n".join([*lines[:3], b"%08x %s" % (zlib.crc32(text), text), *lines[4:]]) + b"\n")
        prepared = _prepared(data, tmp_path / "cache")
        if 0 <= row < 60:
            with pytest.raises(StoreError, match="other pixels of 'case003'"):
                load_weak(prepared.folder, "train")
        else:
            _check_images(prepared, data)
            index.write_bytes(b"\n".join(lines) + b"\n")


def test_a_box_survives_the_way_into_the_square_and_back_within_one_pixel(tmp_path: Path) -> None:
    """The frame is kept with the image, so what is found in the square can be told in pixels of the stored image."""
    draw = np.random.default_rng(0)
    for height, width in ((1024, 1024), (1000, 640), (333, 999), (64, 64)):
        frame = Letterbox.fit(height, width, 256)
        for _ in range(20):
            x, y = int(draw.integers(8, width // 2)), int(draw.integers(8, height // 2))
            w, h = int(draw.integers(16, width // 2 - 8)), int(draw.integers(16, height // 2 - 8))
            image = np.zeros((height, width), np.uint8)
            image[y : y + h, x : x + w] = 255
            back = frame.to_stored(frame.apply(image).astype(np.float32)) >= 127.5
            rows, columns = np.flatnonzero(back.any(axis=1)), np.flatnonzero(back.any(axis=0))
            found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert np.abs(found - [x, y, x + w, y + h]).max() <= 1, (height, width, x, y, w, h, found)


def test_prepare_shows_the_splits_and_writes_the_manifest(data: Path, tmp_path: Path) -> None:
    cache = {"WSLBENCH_CACHE": str(tmp_path / "cache")}
    command = (*WSLBENCH, "prepare", str(data), "--image-size", "16", "--manifest", "splits.csv")
    first = run_python(*command, cwd=tmp_path, env=cache)
    assert first.returncode == 0, first.stdout + first.stderr
    table = {line.split()[0]: line.split()[1:] for line in first.stdout.splitlines() if line.split()}
    assert table["train"] == ["24", "24", "12", "12", "12", "not", "read"]
    assert table["val"] == ["24", "24", "12", "12", "12", "12"]
    assert table["test"] == ["12", "12", "6", "6", "6", "6"]
    assert "60 images to decode to 16 x 16 pixels" in first.stdout
    assert hashlib.sha256((tmp_path / "splits.csv").read_bytes()).hexdigest() in first.stdout
    second = run_python(*command, cwd=tmp_path, env=cache)
    assert "to decode" not in second.stdout
    (pixels,) = (tmp_path / "cache").glob(f"*/{PIXELS}")
    assert map_pixels(pixels, 16).shape == (60, 16, 16)
    run = run_python(*WSLBENCH, "run", "--datasets", str(data), "--methods", "center_box", "--seeds", "1",
                     "--image-size", "16", "--device", "cpu", "--min-val-located", "5", "--set", "recipe.width=0.1",
                     "--epochs", "1", cwd=tmp_path, env=cache)  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "to decode" not in run.stdout  # a run takes what was prepared


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "nosuch"),
        (("nosuch/folder",), "found no such directory"),
        (("DATA", "--jobs", "0"), "--jobs 0: expected at least 1"),
        (("DATA", "--set", "rsna.view=PA"), "takes no part"),
        (("DATA", "--data-root", "."), "reads files from a root"),
        (("rsna",), "stage_2_train_labels.csv"),
    ],
)
def test_prepare_refuses_with_a_reason(data: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run_python(
        *WSLBENCH, "prepare", *(str(data) if a == "DATA" else a for a in arguments), cwd=tmp_path,
        env={"WSLBENCH_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_two_at_once_decode_each_image_once(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data", n=300)
    env = environment({"WSLBENCH_CACHE": str(tmp_path / "cache")})
    command = [sys.executable, *WSLBENCH, "prepare", str(data), "--image-size", "16"]
    both = [subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    (cache,) = (tmp_path / "cache").iterdir()
    assert (cache / PIXELS).stat().st_size == 300 * 16**2
    prepared = prepare("tiny", _dataset(data), 16, tmp_path / "run", cache=cache)
    _check_images(prepared, data)


def test_a_cache_that_takes_no_files_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", Path("/proc/wslbench")):
        done = run_python(
            *WSLBENCH, "prepare", str(data), "--image-size", "16", cwd=tmp_path, env={"WSLBENCH_CACHE": str(place)}
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Name a folder of your own with WSLBENCH_CACHE" in " ".join(done.stderr.split())
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cache_that_is_read_only_is_read(data: Path, tmp_path: Path) -> None:
    """As on a medium or in somebody else's folder; permissions do not bind root, so the lock is made impossible."""
    cache = tmp_path / "cache"
    _prepared(data, cache)
    (cache / ".lock").unlink(missing_ok=True)
    (cache / ".lock").mkdir()
    before = {file.name: file.read_bytes() for file in cache.iterdir() if file.is_file()}
    first, second = sorted((data / "images").iterdir())[:2]
    os.utime(first)  # another time, the same content
    _check_images(_prepared(data, cache), data)
    Image.open(first).save(second)
    said: list[str] = []
    with pytest.raises(UsageError, match=rf"expected all 60 images decoded.*'{second.stem}' missing.*WSLBENCH_CACHE"):
        _prepared(data, cache, say=said.append)
    assert said == []  # nothing was decoded again
    second.write_bytes(b"no image")
    with pytest.raises(DataError, match=second.name):
        _prepared(data, cache)
    prepared = _prepared(data, cache, skip_corrupt=True)
    assert list(prepared.skipped) == [second.stem]
    assert {file.name: file.read_bytes() for file in cache.iterdir() if file.is_file()} == before


@pytest.mark.slow
def test_killed_at_any_moment_prepare_continues(tmp_path: Path) -> None:
    """SIGKILL after 25 different times, by two processes, until one call gets through."""
    data = tiny_folder(tmp_path / "data", n=1200, size=(400, 320))
    env = environment({"WSLBENCH_CACHE": str(tmp_path / "cache")})
    command = [sys.executable, *WSLBENCH, "prepare", str(data), "--image-size", "64"]
    kept = []
    for i in range(25):
        done = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(0.9 + 0.1 * i)
        done.kill()
        done.communicate()
        folders = list((tmp_path / "cache").glob("folder-*"))
        kept.append(len(DecodedImages(folders[0], 64).entries) if folders else 0)
        if kept[-1] == 1200:  # it got through: begin again
            shutil.rmtree(tmp_path / "cache")
    assert len({n for n in kept if 0 < n < 1200}) > 0, kept
    assert all(a <= b or b == 0 or a == 1200 for a, b in itertools.pairwise(kept)), kept
    subprocess.run(command, env=env, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    prepared = prepare("tiny", _dataset(data), 64, tmp_path / "run", cache=next((tmp_path / "cache").glob("folder-*")))
    _check_images(prepared, data)
