"""Options: types, texts, sources, errors with suggestions, transactions."""

import collections.abc
import copy
import typing
from dataclasses import fields

import pytest

from rulesproxy import limits
from rulesproxy.engine import option_types
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.option_types import option_type
from rulesproxy.engine.options import Options
from rulesproxy.limits import DEFAULT, MAY_BE_ZERO, Limits

Texts = collections.abc.Sequence[str]


@pytest.fixture
def options():
    options = Options()
    add = options.add
    add("listen", str, "127.0.0.1:8080", "Where.")
    add("workers", int, 1, "How many.")
    add("ratio", float, 0.5, "How much.")
    add("quiet", bool, False, "Less.")
    add("hosts", Texts, ["a"], "Which.")
    add("proxy", str | None, None, "Whom.")
    add("port", int | None, None, "Where.")
    add("codec", str, "auto", "Which.", choices=["auto", "h11", "httptools"])
    add("colours", Texts, (), "Which.", choices=("red", "green"))
    add("mode", str | None, None, "How.", choices=("x", "y"))
    return options


def check(options, message, call, *args, **kwargs):
    """The call raises OptionsError with exactly this message, and changes nothing."""
    before, told = options.items(), []
    options.on_change = lambda changed, undo: told.append(changed)
    with pytest.raises(OptionsError) as caught:
        call(*args, **kwargs)
    assert str(caught.value) == message
    assert options.items() == before
    assert told == []


@pytest.mark.parametrize(("text", "name", "value"), [
    ("listen=:80",            "listen",  ":80"),
    ("listen= a=b ",          "listen",  " a=b "),
    ("LISTEN=x",              "listen",  "x"),
    ("workers=4",             "workers", 4),
    ("workers= -4 ",          "workers", -4),
    ("ratio=2",               "ratio",   2.0),
    ("quiet",                 "quiet",   True),
    ("quiet=yes",             "quiet",   True),
    ("quiet=OFF",             "quiet",   False),
    ("quiet=1",               "quiet",   True),
    ("hosts=a, b ,,c",        "hosts",   ("a", "b", "c")),
    ("hosts=",                "hosts",   ()),
    ("proxy=x",               "proxy",   "x"),
    ("proxy=none",            "proxy",   None),
    ("port=",                 "port",    None),
    ("port=80",               "port",    80),
    ("codec=h11",             "codec",   "h11"),
    ("colours=red,green",     "colours", ("red", "green")),
    ("mode=none",             "mode",    None),
    ("limits_body=10MB",      "limits_body", 10_000_000),
    ("limits-body=64KiB",     "limits_body", 65536),
    ("limits.body=1.5 kib",   "limits_body", 1536),
    ("limits_body=100",       "limits_body", 100),
    ("limits_body=0",         "limits_body", 0),
    ("limits_handler=30s",    "limits_handler", 30.0),
    ("limits_handler=250ms",  "limits_handler", 0.25),
    ("limits_handler=2m",     "limits_handler", 120.0),
    ("limits_handler=1.5h",   "limits_handler", 5400.0),
    ("limits_handler=7",      "limits_handler", 7.0),
    ("limits_header_count=5", "limits_header_count", 5),
])  # fmt: skip
def test_texts(options, text, name, value):
    options.set_text(text)
    assert getattr(options, name) == value
    assert type(getattr(options, name)) is type(value)
    assert options.source(name) == "command line"


SIZE = "it must be a size in bytes, such as 65536, 64KiB or 10MB"
TIME = "it must be a time in seconds, such as 30, 30s or 250ms"


@pytest.mark.parametrize(("text", "message"), [
    ("lsten=x",               "no option `lsten`; did you mean `listen`?"),
    ("zzzzz=x",               "no option `zzzzz`"),
    ("listen",                "option `listen`: write listen=VALUE"),
    ("workers=four",          "option `workers`: it must be a whole number, not `four`"),
    ("workers=4.0",           "option `workers`: it must be a whole number, not `4.0`"),
    ("ratio=x\x1b",           "option `ratio`: it must be a number, not `x\\x1b`"),
    ("quiet=maybe",           "option `quiet`: it must be true or false, not `maybe`"),
    ("port=x",                "option `port`: it must be a whole number, or none, not `x`"),
    ("codec=htptools",
     "option `codec`: it must be one of auto, h11, httptools, not `htptools`; did you mean `httptools`?"),
    ("colours=red,gren",      "option `colours`: it must be one of red, green, not `gren`; did you mean `green`?"),
    ("mode=z",                "option `mode`: it must be one of x, y, not `z`; did you mean `x`?"),
    ("limits_body=10 apples", f"option `limits_body`: {SIZE}, not `10 apples`"),
    ("limits_body=10s",       f"option `limits_body`: {SIZE}, not `10s`"),
    ("limits_body=-1",        f"option `limits_body`: {SIZE}, not `-1`"),
    ("limits_body=0.3b",      f"option `limits_body`: {SIZE}, not `0.3b`"),
    ("limits_handler=1MS",    f"option `limits_handler`: {TIME}, not `1MS`"),
    ("limits_handler=inf",    f"option `limits_handler`: {TIME}, not `inf`"),
    ("limits_header_count=-1", "option `limits_header_count`: it must be a whole number, not negative, not `-1`"),
    ("limits_header_count=1k", "option `limits_header_count`: it must be a whole number, not negative, not `1k`"),
])  # fmt: skip
def test_bad_texts(options, text, message):
    check(options, message, options.set_text, text)


@pytest.mark.parametrize(("name", "value", "kept"), [
    ("listen", "x", "x"),
    ("workers", 3, 3),
    ("ratio", 3, 3.0),
    ("quiet", True, True),
    ("hosts", ["b", "c"], ("b", "c")),
    ("hosts", (), ()),
    ("proxy", None, None),
    ("port", 5, 5),
    ("limits_body", 0, 0),
    ("limits_handler", 1, 1.0),
])  # fmt: skip
def test_updates(options, name, value, kept):
    options.update(**{name: value})
    assert getattr(options, name) == kept
    assert type(getattr(options, name)) is type(kept)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("listen", 5,         "option `listen`: it must be a text, not 5"),
    ("listen", None,      "option `listen`: it must be a text, not None"),
    ("workers", "5",      "option `workers`: it must be a whole number, not '5'"),
    ("workers", True,     "option `workers`: it must be a whole number, not True"),
    ("workers", 5.0,      "option `workers`: it must be a whole number, not 5.0"),
    ("ratio", False,      "option `ratio`: it must be a number, not False"),
    ("quiet", 1,          "option `quiet`: it must be true or false, not 1"),
    ("hosts", "a",        "option `hosts`: it must be a list of texts (written a,b,c), not 'a'"),
    ("hosts", [1],        "option `hosts`: it must be a list of texts (written a,b,c), not [1]"),
    ("proxy", 5,          "option `proxy`: it must be a text, or none, not 5"),
    ("codec", "x",        "option `codec`: it must be one of auto, h11, httptools, not `x`"),
    ("limits_body", -1,   f"option `limits_body`: {SIZE}, not -1"),
    ("limits_handler", float("inf"), f"option `limits_handler`: {TIME}, not inf"),
    ("limits_handler", float("nan"), f"option `limits_handler`: {TIME}, not nan"),
    ("wrkers", 1,         "no option `wrkers`; did you mean `workers`?"),
])  # fmt: skip
def test_bad_updates(options, name, value, message):
    check(options, message, options.update, **{"quiet": True, name: value})


def test_reading(options):
    with pytest.raises(AttributeError, match=r"no option `workrs`; did you mean `workers`\?"):
        _ = options.workrs
    with pytest.raises(AttributeError, match=r"read-only here; write options\.update\(workers=…\)"):
        options.workers = 3
    assert not hasattr(options, "_private")
    assert "workers" in options
    assert "workrs" not in options
    assert options.keys()[-1] == "mode"
    assert dict(options.items())["workers"] == 1
    assert copy.copy(options).workers == 1
    with pytest.raises(KeyError):
        options.source("workrs")


# Declaring


@pytest.mark.parametrize(("arguments", "message"), [
    (("Upper", str, "", ""),     "`Upper` cannot be the name of an option: use lower-case words with _"),
    (("a-b", str, "", ""),       "`a-b` cannot be the name of an option: use lower-case words with _"),
    (("_a", str, "", ""),        "`_a` cannot be the name of an option: use lower-case words with _"),
    (("update", str, "", ""),    "`update` cannot be the name of an option: use lower-case words with _"),
    (("limits", str, "", ""),    "`limits` cannot be the name of an option: use lower-case words with _"),
    (("x", bytes, b"", ""),
     "option `x`: its type must be str, int, float, bool or Sequence[str], or one of them | None"),
    (("x", int, "1", ""),        "option `x`: it must be a whole number"),
    (("workers", int, 2, "How many."), "option `workers` exists already, with another type, default or help"),
])  # fmt: skip
def test_bad_declarations(options, arguments, message):
    check(options, message, options.add, *arguments)


def test_the_same_declaration_again(options):
    options.update(workers=4)
    options.add("workers", int, 1, "How many.")
    assert options.workers == 4


@pytest.mark.parametrize(("spec", "words"), [
    (str, "text"), (int, "whole number"), (float, "number"), (bool, "true or false"),
    (Texts, "list of texts"), (typing.Sequence[str], "list of texts"), (list[str], "list of texts"),
    (tuple[str, ...], "list of texts"), (None | str, "text or none"),
    (typing.Optional[int], "whole number or none"),  # noqa: UP045
    (Texts | None, "list of texts or none"),
])  # fmt: skip
def test_type_specifications(spec, words):
    assert str(option_type(spec)) == words


@pytest.mark.parametrize(
    "spec", [bytes, None, "str", list, list[int], tuple[str, str], str | int, str | int | None, dict[str, str], 5]
)
def test_bad_type_specifications(spec):
    with pytest.raises(ValueError, match="its type must be"):
        option_type(spec)


def test_removing(options):
    options.update(workers=4)
    options.remove(["workers", "unknown"])
    assert "workers" not in options
    assert not hasattr(options, "workers")
    options.add("workers", int, 1, "How many.")
    assert options.workers == 4


# Sources


def test_later_sources_win_in_any_order(options):
    options.update(workers=5)
    options.set_text("workers=4", "command line")
    options.set_values({"workers": 2}, "project file")
    options.set_environment({"RULESPROXY_WORKERS": "3"})
    assert (options.workers, options.source("workers")) == (5, "run time")
    rest = Options()
    rest.add("workers", int, 1, "")
    assert rest.source("workers") == "default"
    for value, source in [(2, "project file"), (3, "environment"), (4, "command line")]:
        rest.set_values({"workers": value}, source)
        assert (rest.workers, rest.source("workers")) == (value, source)
    rest.set_values({"workers": 9}, "project file")
    assert rest.workers == 4


def test_environment(options):
    options.set_environment({
        "RULESPROXY_LISTEN": "x", "RULESPROXY_LIMITS_BODY": "1KB", "RULESPROXY_HOSTS": "b,c", "RULESPROXY_HOME": "/",
        "RULESPROXY_RULES": "r", "HOME": "/", "LISTEN": "y",
    })  # fmt: skip
    assert (options.listen, options.limits_body, options.hosts) == ("x", 1000, ("b", "c"))
    check(options, "RULESPROXY_LSTEN is set, but there is no option `lsten`; did you mean RULESPROXY_LISTEN?",
          options.set_environment, {"RULESPROXY_QUIET": "1", "RULESPROXY_LSTEN": "x"})  # fmt: skip
    check(options, "RULESPROXY_QQQQQQ is set, but there is no option `qqqqqq`",
          options.set_environment, {"RULESPROXY_QQQQQQ": "x"})  # fmt: skip
    check(options, "RULESPROXY_WORKERS: it must be a whole number, not `x`",
          options.set_environment, {"RULESPROXY_WORKERS": "x"})  # fmt: skip


def test_project_file(options):
    options.set_values({
        "listen": "x", "workers": "4", "quiet": True, "hosts": ["p", "q"], "proxy": None, "http": {"x": {"y": 1}},
        "limits": {"body": "5MB", "header-count": 7, "idle": 3},
    }, later=True)  # fmt: skip
    assert (options.listen, options.workers, options.quiet, options.hosts, options.proxy) == (
        "x", 4, True, ("p", "q"), None,
    )  # fmt: skip
    assert (options.limits.body, options.limits.header_count, options.limits.idle) == (5_000_000, 7, 3.0)
    options.add("http_x_y", int, 0, "")
    assert options.http_x_y == 1
    check(options, "option `workers`: it must be a whole number, not [1]", options.set_values, {"workers": [1]})
    check(
        options, "no option `limits_boddy`; did you mean `limits_body`?", options.set_values, {"limits": {"boddy": 1}}
    )


def test_lists_that_are_given_several_times_add_up(options):
    options.set_texts(["hosts=x", "workers=1", "hosts=y,z", "workers=2", "proxy=a", "proxy=b"])
    assert (options.hosts, options.workers, options.proxy) == (("x", "y", "z"), 2, "b")
    options.set_texts(["hosts=again"])
    assert options.hosts == ("again",)


def test_what_waits_for_a_declaration(options):
    options.set_texts(["speed=3", "speed-up", "gear"], later=True)
    options.set_environment({"RULESPROXY_GAER": "1"}, later=True)
    options.add("speed", int, 1, "")
    options.add("speed_up", bool, False, "")
    assert (options.speed, options.speed_up) == (3, True)
    check(options, "option `gear`: write gear=VALUE", options.add, "gear", int, 1, "")
    assert "gear" not in options
    check(options, "no option `gear`\nRULESPROXY_GAER is set, but there is no option `gaer`", options.check_unknown)
    options.add("gaer", str, "", "")
    options.add("gear", bool, False, "")
    options.check_unknown()


# Limits


def test_every_limit_is_an_option(options):
    assert options.limits == DEFAULT
    for field in fields(Limits):
        assert getattr(options, f"limits_{field.name}") == getattr(DEFAULT, field.name)
    before = options.limits
    options.update(workers=3)
    assert options.limits is before
    options.update(limits_body=5, limits_idle=6)
    assert (options.limits.body, options.limits.idle) == (5, 6.0)
    assert options.limits.header_block == DEFAULT.header_block


def test_description(options):
    options.update(workers=3)
    rows = {row.name: row for row in options.describe()}
    assert list(rows) == sorted(options.keys())
    row = rows["workers"]
    assert (row.type, row.default, row.value, row.source, row.help, row.choices) == (
        "whole number", 1, 3, "run time", "How many.", None,
    )  # fmt: skip
    assert rows["codec"].choices == ("auto", "h11", "httptools")
    assert rows["limits_body"].type == "size"
    assert rows["limits_handler"].type == "duration"
    assert rows["limits_header_count"].type == "count"
    assert all(row.help for row in rows.values())


def test_description_without_the_source(options, monkeypatch):
    def no_source(module):
        assert module is limits
        raise OSError("no source")

    monkeypatch.setattr(option_types.inspect, "getsource", no_source)
    assert {row.help for row in options.describe() if row.name.startswith("limits_")} == {""}


# Transactions


def test_listeners_hear_exactly_what_changed(options):
    told = []
    options.on_change = lambda changed, undo: told.append((changed, options.workers))
    options.update(workers=2, quiet=False)
    options.set_text("workers=9", "command line")
    options.update(workers=2)
    options.set_values({"unknown": 1}, later=True)
    assert told == [({"workers"}, 2)]


def test_going_back(options):
    options.update(workers=2)

    def refuse(changed, undo):
        assert changed == {"workers", "limits_body", "proxy"}
        assert (options.workers, options.limits.body) == (7, 1)
        options.add("new", int, 1, "")
        assert undo() == changed
        raise OptionsError("no")

    options.on_change = refuse
    with pytest.raises(OptionsError, match="no"):
        options.update(workers=7, limits_body=1, proxy="x")
    assert (options.workers, options.limits, options.proxy) == (2, DEFAULT, None)
    assert options.source("proxy") == "default"
    assert "new" not in options


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_limits_without_which_nothing_works_are_not_zero(name):
    if name in MAY_BE_ZERO:
        Options().update(**{f"limits_{name}": 0})
    else:
        with pytest.raises(OptionsError, match="and more than 0, not 0"):
            Options().update(**{f"limits_{name}": 0})


def test_a_zero_as_text():
    with pytest.raises(OptionsError, match="such as 65536, 64KiB or 10MB, and more than 0, not `0`"):
        Options().set_text("limits_write_buffer=0")
