"""A file that grows is whole at every moment: also on a full disk, and when its writer is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rulesproxy.engine.growing import GrowingList

HEAD, TAIL = b'{"items": [', b"\n]}\n"


def convert(data: bytes) -> list[bytes]:
    return [json.dumps(item).encode() for item in json.loads(data)["items"]]


def growing(path: Path, append: bool = True, largest: int = 1000) -> GrowingList:
    return GrowingList(path, HEAD, TAIL, append=append, convert=convert, largest=largest)


def items(path: Path) -> list[object]:
    found: list[object] = json.loads(path.read_bytes())["items"]
    return found


def test_it_is_whole_behind_every_item(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    file = growing(path)
    for number in range(10):
        file.add([b"%d" % number] * (number % 3 + 1))
        assert items(path) == [each for n in range(number + 1) for each in [n] * (n % 3 + 1)]
    file.add([])
    file.close()
    file.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["list.json"]


def test_it_goes_on_or_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    for append, wanted in ((True, [1]), (True, [1, 1]), (False, [1]), (True, [1, 1])):
        file = growing(path, append)
        file.add([b"1"])
        assert items(path) == wanted
        file.close()


@pytest.mark.parametrize(("text", "wanted"), [('{"items": [5, {"a": "é"}]}', [5, {"a": "é"}]), ("", [])])
def test_it_goes_on_with_what_others_have_written(tmp_path: Path, text: str, wanted: list[object]) -> None:
    path = tmp_path / "list.json"
    path.write_text(text, encoding="utf-8")
    file = growing(path)
    file.add([b"6"])
    file.add([b"7"])
    assert items(path) == [*wanted, 6, 7]
    file.close()


@pytest.mark.parametrize("text", ["no json", "[]", '{"items": [' + "1," * 1000 + "1]}"])
def test_what_it_cannot_go_on_with_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises((ValueError, TypeError)):
        growing(path).add([b"1"])
    assert path.read_text() == text


def test_it_may_be_moved_away_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    file = growing(path, append=False)
    file.add([b"1"])
    path.rename(tmp_path / "old.json")
    file.add([b"2"])
    assert (items(tmp_path / "old.json"), items(path)) == ([1], [2])
    path.unlink()
    path.write_text('{"items": [9]}')
    file.add([b"3"])
    assert items(path) == [9, 3]
    file.close()


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.engine.test_growing import growing, items
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
path, count = Path(sys.argv[1]), 0
file = growing(path)
try:
    while True:
        file.add([b'"' + b"x" * 700 + b'"'])
        count += 1
except OSError as error:
    assert len(items(path)) == count, (len(items(path)), count)
    print(count, error.errno)
file.close()
assert len(items(path)) == count
"""


def test_a_full_disk_leaves_it_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "list.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) in (6, 7)
    assert [entry.name for entry in tmp_path.iterdir()] == ["list.json"]


KILLED = """
import sys
from pathlib import Path
from tests.engine.test_growing import growing
file = growing(Path(sys.argv[1]))
print("go", flush=True)
while True:
    file.add([b'"' + b"y" * 300_000 + b'"'])
"""


def test_a_writer_that_is_killed_leaves_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    before = 0
    for pause in (0.01, 0.023, 0.031, 0.05, 0.077):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(pause)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if path.exists():
            found = items(path)
            assert len(found) >= before
            before = len(found)
    assert before > 0
    file = growing(path)
    file.add([b"1"])
    assert len(items(path)) == before + 1
    file.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["list.json"]


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe"])
def test_only_a_regular_file_is_written(tmp_path: Path, kind: str, append: bool) -> None:
    path = target = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    if kind.startswith("link"):
        path = tmp_path / "link"
        path.symlink_to(target)
    before = target.stat()
    with pytest.raises(ValueError, match="no regular file"):
        growing(path, append).add([b"1"])
    assert os.path.samestat(target.stat(), before)
    assert set(tmp_path.iterdir()) == {path, target}


def test_a_link_leads_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "x"
    link.symlink_to("far/y")
    file = growing(link)
    file.add([b"1"])
    file.add([b"2"])
    file.close()
    assert link.is_symlink()
    assert items(tmp_path / "far/y") == [1, 2]
    assert [entry.name for entry in (tmp_path / "far").iterdir()] == ["y"]
