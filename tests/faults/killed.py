"""Run commands in forks of one warm process, write down their effects, and die at one of them.

    python killed.py    for each request, a line of JSON on standard input, an answer on its output

An effect is a commit, a part of a mail that is sent, or a change of a file below the site: opened
for writing, flushed, renamed, linked, deleted. It is named by the lines of the program that cause
it: ``rename documents/writing.py:24 < cli/exports.py:217``. Nobody lists effects: Python's audit
events, and a few functions that are watched here, tell of them in the forked process alone.

To die is to end by SIGKILL right before an effect. So that the moments after one are there, too,
``open``, ``send`` and the whole command are followed by another one: ``opened`` (the file is there
and empty), ``sent`` (the server has the words, and nobody its answer) and ``end``.
"""

import builtins
import gc
import importlib
import io
import json
import os
import pkgutil
import re
import signal
import smtplib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

from sqlalchemy import Engine, event

import billing_lib
from billing_lib import cli
from billing_lib.audit import clean_room, warm_kernel

PROGRAM = str(Path(billing_lib.__file__).parent) + os.sep
CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.mkdir"}
"""The audit events of changes of folders: first a path, last the folder in which it is, or -1."""


class Watch:
    """Writes an effect down, or dies before it."""

    def __init__(
        self, site: str, trace: int, die: tuple[str, int] | None, instead: list[str] | None
    ) -> None:
        self.site, self.trace, self.die, self.instead = site, trace, die, instead
        self.seen = 0

    def effect(self, kind: str) -> None:
        """Tell of an effect that is about to happen."""
        name = f"{kind} {_line()}"
        if self.die is not None and self.die[0] == name:
            self.seen += 1
            if self.seen == self.die[1] and self.instead is None:
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.seen == self.die[1]:
                subprocess.run(self.instead, check=True, stdout=subprocess.DEVNULL)
        os.write(self.trace, f"{name}\n".encode())

    def audit(self, name: str, words: tuple[Any, ...]) -> None:
        """An audit hook of Python."""
        if name in CHANGES and self.below(_whole(words[0], words[-1])):
            self.effect(name.removeprefix("os."))
        elif name == "open" and self.writes(words[0], words[2]):
            self.effect("open")
        elif name == "smtplib.send":
            self.effect("send")

    def writes(self, path: object, flags: int) -> bool:
        """Whether a file below the site is opened to be written."""
        return bool(flags & (os.O_WRONLY | os.O_RDWR)) and self.below(path)

    def below(self, path: object) -> bool:
        """Whether a path is below the site."""
        named = isinstance(path, str | os.PathLike)
        return named and Path(path).absolute().is_relative_to(self.site)

    def begin(self) -> None:
        """Watch this process."""
        sys.addaudithook(self.audit)
        event.listen(Engine, "commit", lambda _: self.effect("commit"))
        os.fsync = self._before(os.fsync, "fsync")
        smtplib.SMTP.send = self._after(smtplib.SMTP.send, "sent")  # type: ignore[method-assign]
        builtins.open = io.open = self._opening(io.open)  # type: ignore[assignment]

    def _before(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def told(*words: Any) -> Any:
            self.effect(kind)
            return function(*words)

        return told

    def _after(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def told(*words: Any) -> Any:
            result = function(*words)
            self.effect(kind)
            return result

        return told

    def _opening(self, function: Callable[..., IO[Any]]) -> Callable[..., IO[Any]]:
        def opened(file: Any, mode: str = "r", *words: Any, **named: Any) -> IO[Any]:
            handle = function(file, mode, *words, **named)
            if set(mode) & set("wax+") and self.below(file):
                self.effect("opened")
            return handle

        return opened


def _whole(path: Any, folder: int) -> Path:
    """A path with the folder, an open one, in which it is meant."""
    within = Path() if folder < 0 else Path(f"/proc/self/fd/{folder}").readlink()
    return within / os.fsdecode(path)


def _line() -> str:
    """The innermost lines of the program that run in this thread."""
    frame, lines = sys._getframe(2), []
    while frame is not None and len(lines) < 3:
        if frame.f_code.co_filename.startswith(PROGRAM):
            lines.append(f"{frame.f_code.co_filename.removeprefix(PROGRAM)}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(lines)


def _become(request: dict[str, Any], forker: warm_kernel.Forker) -> NoReturn:
    """Be ``billing WORDS`` in the site."""
    site, said = request["site"], os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
    os.chdir(site)
    os.environ.update(request["environment"])
    sys.argv = ["billing", *request["words"]]
    if request["seconds"] is None:  # else it may end while it waits for the answer
        forker.ended = lambda: False  # type: ignore[method-assign] # it is another's child
        warm_kernel._forkers[os.getpid(), warm_kernel.ISSUING] = forker
    trace = os.open(request["trace"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    die = request["die"]
    watch = Watch(site, trace, None if die is None else tuple(die), request["instead"])
    watch.begin()
    if request["seconds"] is not None:
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # SIGALRM ends it, anywhere
    try:
        cli.main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    watch.effect("end")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Import everything, then run each request in a fork and answer with its status."""
    for module in pkgutil.walk_packages(billing_lib.__path__, "billing_lib."):
        if not re.search("portal|panels|migrations", module.name):
            importlib.import_module(module.name)
    gc.freeze()
    forker = warm_kernel.warm_up(clean_room.clean_environment(Path(os.devnull), clean_room._TREE))
    children = Path(f"/proc/{forker._process.pid}/task/{forker._process.pid}/children")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line), forker)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for kernel in children.read_text().split():  # its own process of kernels would end them
            os.kill(int(kernel), signal.SIGKILL)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
