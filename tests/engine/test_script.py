"""Scripts: real files, what they may look like, and what is said of broken ones."""

import re
import subprocess
import sys

import pytest

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.engine.manager import Engine
from rulesproxy.engine.script import ScriptError, load_script
from rulesproxy.flow.http import HTTPFlow


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text, name="addon.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


async def tags(module):
    """What the script leaves on a flow when it is run by an engine."""
    engine = Engine()
    await engine.startup([module])
    flow = HTTPFlow.make("GET", "http://a.test/")
    await dispatch(engine.chain.request, flow)
    await engine.shutdown()
    return flow.tags


FUNCTIONS = """
import dataclasses
from logging import log
from rulesproxy.engine.context import ctx

@dataclasses.dataclass
class Counter:
    count: "int" = 0

counter = Counter()

def load(entry):
    entry.add_option("speed", int, 3, "How fast.")

async def request(flow):
    counter.count += 1
    flow.tags.append(f"{counter.count} {ctx.options.speed}")
"""

ADDONS = """
class One:
    def request(self, flow):
        flow.tags.append("one")

class Two(One):
    def request(self, flow):
        flow.tags.append("two")

addons = [One(), Two()]
"""

START = """
class Booted:
    def start(self):
        self.ready = True

    def request(self, flow):
        flow.tags.append(f"booted {self.ready}")

def start():
    return Booted()
"""

HELPED = """
import helper_of_this_test

def request(flow):
    flow.tags.append(helper_of_this_test.NAME)
"""


@pytest.mark.parametrize(("text", "left"), [
    (FUNCTIONS, ["1 3"]),
    (ADDONS,    ["one", "two"]),
    (START,     ["booted True"]),
    (HELPED,    ["helped"]),
])  # fmt: skip
async def test_forms(write, text, left):
    write("NAME = 'helped'\n", "helper_of_this_test.py")
    assert await tags(load_script(write(text))) == left


def test_a_module_of_its_own(write):
    path = write("x = []\ndef request(flow): pass\n")
    first, second = load_script(path), load_script(str(path))
    assert first.x is not second.x
    assert first.__name__ != second.__name__
    assert sys.modules[first.__name__] is first
    assert first.__file__ == str(path)
    assert sys.path.count(str(path.parent)) == 1
    assert not list(path.parent.glob("__pycache__"))


def test_a_quick_edit_of_the_same_length_is_seen(write):
    for number in range(3):
        assert load_script(write(f"x = {number}\ndef request(flow): pass\n")).x == number


def test_the_library_goes_before_what_lies_beside_the_script(write):
    write("raise RuntimeError('shadowed')\n", "colorsys.py")
    sys.modules.pop("colorsys", None)
    load_script(write("import colorsys\ndef request(flow): pass\n"))


@pytest.mark.parametrize(("text", "message"), [
    ("x = 1\ndef f(:\n",           r"ADDON:2: invalid syntax: `def f\(:`"),
    ("x = 1\0",                    r"ADDON: source code (string )?cannot contain null bytes"),
    ("x = (\n",                    r"ADDON:1: '\(' was never closed: `x = \(`"),
    ("x = 1\nimport nothing_here", r"ADDON:2: ModuleNotFoundError: No module named 'nothing_here'"),
    ("import json\njson.loads('x\\x1b')", r"ADDON:2: JSONDecodeError: Expecting value: line 1 column 1 \(char 0\)"),
    ("raise ValueError",           r"ADDON:1: ValueError"),
    ("raise ValueError('a\\nb\\x1b')", r"ADDON:1: ValueError: a\\nb\\x1b"),
    ("import sys\nsys.exit(3)",    r"ADDON:2: SystemExit: 3"),
    ("import broken_one",          r"/.*/broken_one\.py:1: invalid syntax: `def`"),
    ("import broken_two",          r"/.*/broken_two\.py:2: ZeroDivisionError: division by zero"),
    ("x = '\\ud800'.encode()",     r"ADDON:1: UnicodeEncodeError: .*"),
    ("",                           r"ADDON: no handler of an event and no `addons` in it; "
                                   r"define a function such as `request\(flow\)`, or `addons = \[\.\.\.\]`"),
    ("def requets(flow): pass\ndef client_connected(layer): pass",
                                   r"ADDON: no handler of an event and no `addons` in it; "
                                   r"`requets`: did you mean `request`\? "
                                   r"`client_connected`: did you mean `clientconnect`\?"),
    ("from os import path as requets", r"ADDON: no handler .*; define a function .*"),
    ("def request(): pass",        r"addon addon\.py: `request` takes \(flow\); this one does not"),
    ("log = 5",                    r"addon addon\.py: `log` is the name of an event, .* of type int; rename it"),
])  # fmt: skip
def test_broken_scripts(write, text, message):
    write("def\n", "broken_one.py")
    write("\n1/0\n", "broken_two.py")
    path = write(text)
    before = set(sys.modules)
    with pytest.raises(ScriptError) as caught:
        load_script(path)
    assert re.fullmatch(message.replace("ADDON", re.escape(str(path))), str(caught.value)), str(caught.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("_rulesproxy")]


def test_source_that_is_no_text(tmp_path):
    path = tmp_path / "addon.py"
    path.write_bytes(b"x = '\xff'\n")
    with pytest.raises(ScriptError, match=r"addon\.py:\d+: .*utf-8"):
        load_script(path)
    path.write_bytes(b"x = 1\0\n")
    with pytest.raises(ScriptError, match=r"null bytes"):
        load_script(path)


def test_missing_files(tmp_path):
    with pytest.raises(ScriptError) as caught:
        load_script(tmp_path / "no\x1b.py")
    assert str(caught.value) == f"{tmp_path}/no\\x1b.py: there is no such file; an addon is a Python file"
    with pytest.raises(ScriptError, match="is not a file; an addon is a Python file"):
        load_script(tmp_path)


def test_a_relative_path_is_shown_as_it_was_given(write, monkeypatch):
    path = write("1/0\n")
    monkeypatch.chdir(path.parent)
    with pytest.raises(ScriptError, match=r"^addon\.py:1: ZeroDivisionError"):
        load_script("addon.py")


async def test_a_near_miss_beside_a_handler_is_a_warning(write, caplog):
    text = "def request(flow): pass\ndef respone(flow): pass\ndef updates(): pass\ndef helper(): pass\n"
    await tags(load_script(write(text)))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "addon addon.py: no event is called `respone`; did you mean `response`?"


def test_an_interrupt_passes(write):
    path = write("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_script(path)


def test_the_engine_reads_no_yaml():
    """The data plane stays small: importing the engine imports neither rules nor their parsers."""
    code = (
        "import sys, rulesproxy.engine.manager, rulesproxy.engine.script; "
        "print([m for m in sys.modules if m.split('.')[0] in ('yaml', 'lark') or m.startswith('rulesproxy.rules')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
