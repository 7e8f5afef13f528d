"""The watch on files: what counts as a change, and when it is told."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rulesproxy.net import watch as module
from rulesproxy.net.watch import Watch


def _write(path: Path) -> None:
    path.write_text("new")


def _rename(path: Path) -> None:
    other = path.with_suffix(".tmp")
    other.write_text("new")
    other.replace(path)


def _truncate_and_write(path: Path) -> None:
    with path.open("w") as file:
        file.flush()
        file.write("new")


def _older(path: Path) -> None:
    other = path.with_suffix(".old")
    other.write_text("new")
    os.utime(other, (1, 1))
    shutil.move(other, path)


def _same_size_and_date(path: Path) -> None:
    stat = path.stat()
    path.write_text("ONE")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _touch(path: Path) -> None:
    os.utime(path)


def _rewrite_the_same(path: Path) -> None:
    path.write_text("one")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_write, True),
        (_rename, True),
        (_truncate_and_write, True),
        (_older, True),
        (_same_size_and_date, True),
        (Path.unlink, True),
        (_touch, False),
        (_rewrite_the_same, False),
    ],
)
async def test_contents_decide(
    change: Callable[[Path], object], told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    path = tmp_path / "rules.yaml"
    path.write_text("one")
    watch = Watch(lambda: [path], interval=0.02)
    watch.start()
    change(path)
    try:
        await asyncio.wait_for(watch.changed(), 3 if told else 0.5)
    except TimeoutError:
        assert not told
    else:
        assert told


async def test_an_empty_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("one")
    watch = Watch(lambda: [path], interval=0.02)
    watch.start()
    path.write_text("")
    waiting = asyncio.ensure_future(watch.changed())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    path.write_text("one")
    await asyncio.sleep(0.3)
    assert not waiting.done()
    path.write_text("two")
    await asyncio.wait_for(waiting, 3)


async def test_a_link_that_is_swapped_and_a_folder_that_gains_a_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(name)
    link = tmp_path / "..data"
    link.symlink_to(tmp_path / "a")
    watch = Watch(lambda: [link / "rules.yaml", tmp_path / "a"], interval=0.02)
    watch.start()
    new = tmp_path / "..new"
    new.symlink_to(tmp_path / "b")
    new.rename(link)
    await asyncio.wait_for(watch.changed(), 3)
    (tmp_path / "a" / "more.yaml").write_text("x")
    await asyncio.wait_for(watch.changed(), 3)


async def test_a_trigger_is_told_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("one")
    watch = Watch(lambda: [path], interval=30)
    watch.start()
    watch.trigger()
    await asyncio.wait_for(watch.changed(), 3)


async def test_a_file_that_always_was_empty_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 60)
    empty, gone, path = tmp_path / "__init__.py", tmp_path / "gone.txt", tmp_path / "rules.yaml"
    empty.write_text("")
    path.write_text("one")
    watch = Watch(lambda: [empty, gone, path], interval=0.02)
    watch.start()
    path.write_text("two")
    assert await asyncio.wait_for(watch.changed(), 5) == {path}
    gone.write_text("")
    assert await asyncio.wait_for(watch.changed(), 5) == {gone}, "an empty file is another thing than none"


async def test_who_never_stops_writing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    path = tmp_path / "rules.yaml"
    path.write_text("x")
    watch = Watch(lambda: [path], interval=0.02)
    watch.start()
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            path.write_text(path.read_text() + "x")
            await asyncio.sleep(0.005)

    writing = asyncio.ensure_future(write())
    try:
        assert await asyncio.wait_for(watch.changed(), 5) == {path}
    finally:
        over.set()
        await writing


async def test_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    path = tmp_path / "rules.yaml"
    path.write_text("one")
    watch = Watch(lambda: [path], interval=0.02)
    watch.start()
    path.unlink()
    os.mkfifo(path)
    assert await asyncio.wait_for(watch.changed(), 5) == {path}
    path.unlink()
    path.write_text("one")
    assert await asyncio.wait_for(watch.changed(), 5) == {path}


async def test_what_is_doubted_is_reported_and_what_was_learned_is_not(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("one")
    files = [old]
    watch = Watch(lambda: files, interval=0.02)
    watch.start()
    watch.doubt([old])
    assert await asyncio.wait_for(watch.changed(), 5) == {old}
    new.write_text("one")
    files.append(new)
    await watch.learn([old, new])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch.changed(), 0.3)
    assert not await watch.moving()
    new.write_text("two")
    assert await watch.moving()
    assert await asyncio.wait_for(watch.changed(), 5) == {new}
