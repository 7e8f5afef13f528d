"""Loading Python addons from files. A script is an addon: the module, its `addons`, or what its `start` returns."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from rulesproxy.engine.bind import AddonError, handlers_of, near_misses, own_functions
from rulesproxy.engine.failures import SCRIPT
from rulesproxy.engine.log import escape


class ScriptError(Exception):
    """A script cannot be loaded: `str()` is one line, `FILE:LINE: what`."""


def load_script(path: str | os.PathLike[str]) -> ModuleType:
    """Import a script and return the module, which is the addon: its functions are handlers, its `addons` children.

    It is imported under a name of its own, so that the same file can be loaded again. Modules beside it can be
    imported from it; those of the standard library and of installed packages go first.

    Raises:
        ScriptError: it is missing, does not run, or has neither handlers nor `addons`.
    """
    file = Path(path).absolute()
    shown = escape(os.fspath(path))
    if not file.is_file():
        what = "is not a file" if file.exists() else "there is no such file"
        raise ScriptError(f"{shown}: {what}; an addon is a Python file")
    module = _execute(file, shown)
    try:
        found = handlers_of(module)
    except AddonError as error:
        _forget(module)
        raise ScriptError(str(error)) from None
    if not found and not hasattr(module, "addons"):
        _forget(module)
        misses = near_misses(own_functions(vars(module), module.__name__))
        hint = " ".join([f"`{name}`: did you mean `{meant}`?" for name, meant in misses])
        hint = hint or "define a function such as `request(flow)`, or `addons = [...]`"
        raise ScriptError(f"{shown}: no handler of an event and no `addons` in it; {hint}")
    return module


def load_code(path: Path) -> ModuleType:
    """Import a Python file that is no addon, such as one with functions that rules call.

    As long as neither the file nor a module beside it has changed, every call gives the same module, so that what it
    remembers stays. A version that cannot be loaded leaves the last good one where it is.

    Raises:
        ScriptError: it does not run.
        OSError: it cannot be read.
    """
    file = path.absolute()
    with _loading:
        known = _codes.get(file)
        if known is not None and known[0] == _contents(file, known[2]):
            return known[1]
        beside = {} if known is None else {name: sys.modules.pop(name) for name in known[2] if name in sys.modules}
        importlib.invalidate_caches()
        before = _contents(file, ())
        try:
            module = _execute(file, escape(os.fspath(path)))
        except BaseException:
            sys.modules.update(beside)
            raise
        if known is not None:
            _forget(known[1])
        found = _beside(file)
        digest = _contents(file, found) if _contents(file, ()) == before else ""
        _codes[file] = digest, module, found
        return module


def code_files(path: Path) -> tuple[Path, ...]:
    """A file that `load_code` has loaded, and the modules beside it that were imported, for watching."""
    known = _codes.get(path.absolute())
    return (path, *(() if known is None else dict.fromkeys(known[2].values())))


def _contents(file: Path, beside: Mapping[str, Path] | tuple[()]) -> str:
    digest = hashlib.sha256()
    for path in (file, *(beside.values() if beside else ())):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except OSError:
            data = b""
        digest.update(b"%d:%b" % (len(data), data))
    return digest.hexdigest()


_codes: dict[Path, tuple[str, ModuleType, dict[str, Path]]] = {}
"""What `load_code` has loaded: a digest of the contents, the module, and the modules beside it."""
_loading = threading.RLock()
"""Rules are loaded in threads, and one module is imported once."""


class Scripts:
    """The scripts of one proxy: what they are made of, and how they are loaded again.

    Attributes:
        modules: the module of every script, by the path it was given as.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Load them, in order.

        Raises:
            ScriptError: see `load_script`.
        """
        self.modules: dict[Path, ModuleType] = {}
        self._failed = False
        self.add(paths)

    @property
    def files(self) -> tuple[Path, ...]:
        """The scripts and the modules beside them that have been imported, for watching.

        After a failure everything beside them, since the fix may be a file that was missing.
        """
        found: dict[Path, None] = {}
        for path in self.modules:
            found[path.absolute()] = None
            if self._failed:
                found.update(dict.fromkeys(sorted(path.absolute().parent.glob("*.py"))))
            found.update(dict.fromkeys(_beside(path).values()))
        return tuple(found)

    def add(self, paths: Iterable[Path]) -> None:
        """Load further ones, in order.

        Raises:
            ScriptError: see `load_script`; none of them was added.
        """
        added: dict[Path, ModuleType] = {}
        try:
            for path in paths:
                if path not in self.modules:
                    added[path] = load_script(path)
        except BaseException:
            for module in added.values():
                _forget(module)
            raise
        self.modules.update(added)

    def remove(self, paths: Iterable[Path]) -> None:
        """These are in use no more, nor is what only they have imported."""
        for path in list(paths):
            beside = _beside(path)
            _forget(self.modules.pop(path))
            for other in self.modules:
                for name in _beside(other):
                    beside.pop(name, None)
            for name in beside:
                sys.modules.pop(name, None)

    def again(self, changed: Iterable[Path] | None) -> dict[Path, ModuleType]:
        """Load the scripts again that are made of one of these files, all of them for None, beside the old modules.

        The old ones stay in `modules` until `take` is called.

        Raises:
            ScriptError: one of them cannot be loaded; everything is as it was.
        """
        files = None if changed is None or self._failed else frozenset(changed)
        found: dict[Path, ModuleType] = {}
        forgotten: dict[str, ModuleType] = {}
        for path in self.modules:
            beside = _beside(path)
            if files is None or not files.isdisjoint(beside.values()):
                # A module that several scripts share is imported once more, and they all get the new one.
                forgotten.update({name: sys.modules[name] for name in beside})
                found[path] = self.modules[path]
            elif path.absolute() in files:
                found[path] = self.modules[path]
        for name in forgotten:
            del sys.modules[name]
        before = set(sys.modules)
        importlib.invalidate_caches()
        self._failed = False
        try:
            return {path: load_script(path) for path in found}
        except BaseException:
            self._failed = True
            for path in found:
                for name in _beside(path).keys() - before:
                    del sys.modules[name]
            sys.modules.update(forgotten)
            raise

    def take(self, path: Path, module: ModuleType) -> None:
        """This is the module of a script now."""
        _forget(self.modules[path])
        self.modules[path] = module

    def refuse(self, module: ModuleType) -> None:
        """A module that was loaded again cannot be used; the scripts are tried once more at the next change."""
        _forget(module)
        self._failed = True


def _beside(script: Path) -> dict[str, Path]:
    """The modules that were imported from the folder of a script, with their files.

    What is installed does not count, nor does what was there before any script.
    """
    folder = script.absolute().parent
    found: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        if name in _before or name.partition(".")[0] in _NOT_BESIDE or name.startswith(SCRIPT):
            continue
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py"):
            file = Path(path)
            if folder in file.parents and "site-packages" not in file.parts:
                found[name] = file
    return found


_NOT_BESIDE = frozenset({"rulesproxy", "__main__"})
_before: set[str] = set()
"""The modules that were there before the first script: they belong to whoever runs this proxy."""


class _Loader(SourceFileLoader):
    """Compiles the source itself: a cached file is found again by size and second, too coarse for quick edits."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


_numbers = itertools.count(1)


def _execute(file: Path, shown: str) -> ModuleType:
    if not _before:
        _before.update(sys.modules)
    name = f"{SCRIPT}{next(_numbers)}_{file.stem}"
    loader = _Loader(name, str(file))
    spec = spec_from_file_location(name, file, loader=loader)
    assert spec is not None  # it is None only for files without a loader
    module = module_from_spec(spec)
    # Dataclasses and pickles look their module up by name, so it has to be there before it runs.
    sys.modules[name] = module
    folder = str(file.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    caches, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    except SyntaxError as error:
        _forget(module)
        source = (error.text or "").strip()
        where = shown if error.filename in (None, str(file)) else error.filename
        line = "" if error.lineno is None else f":{error.lineno}"
        raise ScriptError(escape(f"{where}{line}: {error.msg}{f': `{source}`' if source else ''}")) from None
    except (Exception, SystemExit) as error:
        _forget(module)
        message = f": {error}" if str(error) else ""
        raise ScriptError(escape(f"{_place(error, file, shown)}: {type(error).__name__}{message}")) from error
    finally:
        # The cache of a module beside it would be too coarse as well.
        sys.dont_write_bytecode = caches
    return module


def _forget(module: ModuleType) -> None:
    sys.modules.pop(module.__name__, None)


def _place(error: BaseException, file: Path, shown: str) -> str:
    """The last line of the traceback beside the script; a script whose own code never ran is named alone."""
    where = shown
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if os.path.dirname(name) == str(file.parent):
            where = f"{shown if name == str(file) else name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
