"""The processes that a test has started, and what they print and listen on; Linux only."""

import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_LISTENS = "0A"


def descendants(pid: int) -> Iterator[int]:
    """The processes below ``pid``, and those below these."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = list(children.get(pid, []))
    while waiting:
        found = waiting.pop()
        yield found
        waiting += children.get(found, [])


# Ray names a process by the actor in it, or by what that does at the moment.
CARRIERS = ("ray::TrainingTrial", "ray::ResourceTrainable")


def named(pid: int, *names: str) -> list[int]:
    """The processes below ``pid`` whose command line begins with, or whose program is, a name."""
    return [each for each in descendants(pid) if _is(each, names)]


def _is(pid: int, names: tuple[str, ...]) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return line.startswith(names) or program in names


def listening(pids: set[int]) -> Mapping[str, int]:
    """Address and port, as the kernel writes them, that one of the processes accepts on -> pid."""
    inodes = {}
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                inodes[str(link.readlink())] = pid
            except OSError:
                continue
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            owner = inodes.get(f"socket:[{fields[9]}]")
            if fields[3] == _LISTENS and owner is not None:
                found[fields[1]] = owner
    return found


class Screen:
    """What a process prints, read as it comes, so that no test waits for a line for ever.

    Args:
        process: started with ``stdout=PIPE`` and ``text=True``.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.text = ""
        self._process = process
        self._read = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def until(self, *patterns: str, within_s: float = 240.0) -> None:
        """Wait until each pattern is found, in any order, behind what was waited for before."""
        deadline = time.monotonic() + within_s
        while missing := [p for p in patterns if not re.search(p, self.text[self._read :])]:
            assert self._thread.is_alive(), f"ended without {missing}\n{self.text}"
            assert time.monotonic() < deadline, f"never said {missing}\n{self.text}"
            time.sleep(0.1)
        self._read = len(self.text)

    def end(self, within_s: float = 240.0) -> int:
        """Wait for the end of the process; returns its exit code."""
        code = self._process.wait(timeout=within_s)
        self._thread.join(timeout=30)
        return code

    def _follow(self) -> None:
        for line in self._process.stdout or ():
            self.text += line
