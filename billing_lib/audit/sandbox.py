"""The sandbox: a program of which only its own files are seen, without a network, and with limits.

    bubblewrap         bwrap, where it is installed and may make namespaces
    user namespaces    unshare(1), mount(8) and setpriv(1) of util-linux, where the kernel lets them

Inside there are /usr and the libraries, the folders that are named (for reading, or for writing),
an empty /tmp and /dev, and processes of the sandbox alone. There is no home, no /etc with secrets,
no network but a loopback of its own, over which a notebook's kernel is reached, and no capability.
Memory, the size of files and the time have limits. A container engine's container is a sandbox
of its own (reproduce.py).
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from billing_lib.errors import InvalidRecord

BUBBLEWRAP, NAMESPACES = "bubblewrap", "user namespaces"

SECONDS = 2 * 3600
"""The longest time of a program in the sandbox. A month of 185,597 charges took 6 minutes."""

LARGEST_FILE = 8 << 30
"""The most bytes of a file that is written in the sandbox."""

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/fonts", "/etc/ssl/certs", "/etc/passwd", "/etc/group"),
)
_BEAT = 0.5  # seconds
_TRIAL = 20  # seconds


class NoSandbox(InvalidRecord):
    """Neither bubblewrap nor user namespaces can be used here."""


@cache
def sandbox_kind() -> str | None:
    """The sandbox that works here: BUBBLEWRAP, NAMESPACES, or None without any."""
    return next((kind for kind in (BUBBLEWRAP, NAMESPACES) if works(kind)), None)


def works(kind: str) -> bool:
    """Whether a kind of sandbox can be used here, by trying it."""
    with tempfile.TemporaryDirectory(prefix="billing-sandbox-") as folder:
        place = Path(folder)
        try:
            tried = subprocess.run(
                wrapped(kind, ["/bin/true"], [], [place], place),
                env={"PATH": os.defpath},
                capture_output=True,
                check=False,
                timeout=_TRIAL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return tried.returncode == 0


def wrapped(
    kind: str | None, words: Sequence[str], read: Iterable[Path], write: Iterable[Path], cwd: Path
) -> list[str]:
    """A command that runs another one in the sandbox.

    Parameters
    ----------
    kind
        That of ``sandbox_kind``; None runs the command itself.
    read, write
        The files and folders that it may read, or also write. Later ones cover earlier ones.
    cwd
        Its working folder.
    """
    if kind is None:
        return list(words)
    return _WRAPPED[kind](words, [path for path in read if path.exists()], list(write), cwd)


def _bubblewrap(words: Sequence[str], read: list[Path], write: list[Path], cwd: Path) -> list[str]:
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for name in _SYSTEM:
        place = Path(name)
        if place.is_symlink():
            options += ["--symlink", str(place.readlink()), name]
        elif place.exists():
            options += ["--ro-bind", name, name]
    options += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - its own
    for path in write:
        options += ["--bind", str(path), str(path)]
    for path in read:
        options += ["--ro-bind", str(path), str(path)]
    return [shutil.which("bwrap") or "bwrap", *options, "--chdir", str(cwd), "--", *words]


_LOOPBACK = (
    "import fcntl,os,socket,struct,sys;"
    "s=socket.socket();fcntl.ioctl(s,0x8914,struct.pack('16sH14x',b'lo',1));s.close();"
    "os.execvp(sys.argv[1],sys.argv[1:])"
)
"""Python that brings up the loopback of a new network namespace (SIOCSIFFLAGS, IFF_UP)."""

_MOUNTS = r"""
set -eu
PATH="/usr/sbin:/sbin:$PATH"
for root in /mnt /media /srv; do if [ -d "$root" ]; then break; fi; done
mount -t tmpfs -o size=4g,mode=755 sandbox "$root"
bind() {
  if [ -L "$2" ]; then ln -sfn "$(readlink "$2")" "$root$2"; return; fi
  if [ -d "$2" ]; then mkdir -p "$root$2"
  else mkdir -p "$root$(dirname "$2")"; [ -e "$root$2" ] || : > "$root$2"; fi
  mount --rbind "$2" "$root$2"
  if [ "$1" = ro ]; then
    flags=$(findmnt -n -o VFS-OPTIONS --target "$root$2" | tail -n 1)
    mount -o "remount,bind,ro,${flags#*,}" "$root$2"
  fi
}
mkdir -p "$root/tmp" "$root/dev" "$root/proc"
chmod 1777 "$root/tmp"
for name in null zero full random urandom; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir -p "$root/dev/shm"
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do bind "$1" "$2"; shift 2; done
shift
cwd=$1
shift
exec chroot "$root" setpriv --no-new-privs --bounding-set=-all --inh-caps=-all \
  sh -c 'cd "$1"; shift; exec "$@"' sh "$cwd" "$@"
"""


def _namespaces(words: Sequence[str], read: list[Path], write: list[Path], cwd: Path) -> list[str]:
    kinds = ("--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup")
    places: list[str] = []
    for name in _SYSTEM:
        if Path(name).exists() or Path(name).is_symlink():
            places += ["ro", name]
    for path in write:
        places += ["rw", str(path)]
    for path in read:
        places += ["ro", str(path)]
    up = [sys.executable, "-I", "-S", "-c", _LOOPBACK]
    inside = [*up, "sh", "-c", _MOUNTS, "sh", *places, "--", str(cwd), *words]
    return ["unshare", *kinds, "--fork", "--kill-child", *inside]


_WRAPPED = {BUBBLEWRAP: _bubblewrap, NAMESPACES: _namespaces}


def without_network(words: Sequence[str]) -> list[str] | None:
    """A command that runs another one in a network of its own; None where that needs root."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return None
    return ["unshare", "--net", sys.executable, "-I", "-S", "-c", _LOOPBACK, *words]


def python_folders(python: str) -> list[Path]:
    """The folders that a Python needs: its environment, and the installation it was made from."""
    executable = Path(python).absolute()
    folders = {executable.parent.parent, executable.resolve().parent.parent}
    if python == sys.executable:
        folders |= {Path(sys.prefix), Path(sys.base_prefix)}
        folders |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    system = [Path(name) for name in _SYSTEM] + [Path("/")]
    return sorted(
        folder
        for folder in folders
        if folder not in system and not any(folder.is_relative_to(it) for it in system[:-1])
    )


_LIMITS = (
    "import os,resource as r,sys;"
    "k=[int(it) for it in sys.argv[1].split()];"
    "[r.setrlimit(n,(m,m)) for n,m in zip("
    "(r.RLIMIT_DATA,r.RLIMIT_FSIZE,r.RLIMIT_CPU,r.RLIMIT_CORE),k) "
    "if r.getrlimit(n)[1]==r.RLIM_INFINITY or m<r.getrlimit(n)[1]];"
    "os.execvp(sys.argv[2],sys.argv[2:])"
)
"""Python that sets limits on itself and runs a command in its place."""


def limited(words: Sequence[str]) -> list[str]:
    """A command that runs another one with limits on memory, files and the processors' time.

    The memory is all that the machine has: a sandbox keeps it from what others need beyond it.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = (memory, LARGEST_FILE, SECONDS * (os.cpu_count() or 1), 0)
    limits = " ".join(str(each) for each in most)
    return [sys.executable, "-I", "-S", "-c", _LIMITS, limits, *words]


def run_watched(
    words: Sequence[str],
    beat: Callable[[], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command, capture its output, and call ``beat`` twice a second until it ends.

    If ``beat`` raises, the command and what it started are ended before the error is passed on.

    Parameters
    ----------
    seconds
        The longest time; what takes longer is ended, and its status is that of SIGKILL.
    """
    ends = time.monotonic() + seconds
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        ) as process:
            try:
                while True:
                    try:
                        process.wait(_BEAT)
                        break
                    except subprocess.TimeoutExpired:
                        beat()
                    if time.monotonic() > ends:
                        os.killpg(process.pid, signal.SIGKILL)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read(_OUTPUT).decode(errors="replace"))
    return subprocess.CompletedProcess(list(words), process.returncode, *texts)


_OUTPUT = 1 << 20
"""The bytes of a command's output that are kept."""
