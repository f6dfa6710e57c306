"""The process that writes a study's page while the study runs, and what it has written."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from dmu_search.records import Recorder
from dmu_search.study.files import Study

# In the study's folder. What writes them needs matplotlib and plotly; this does not.
NOTE_FILE, PAGE_FILE, PLOTS = "note.md", "study.html", "plots"
_FIRST_AFTER_S = 30.0
# A page of 5000 trials takes half a minute.
_PATIENCE_S = 300.0


class PageProcess:
    """Writes the page of one study, in a process of low priority, and puts it on the study's run.

    Args:
        study: whose run is open; with ``search.page=false`` it has no page.
        recorder: of that run.
    """

    def __init__(self, study: Study, recorder: Recorder) -> None:
        self._study = study
        self._recorder = recorder
        self._seen = self._written()
        self._began = time.monotonic()
        # Begun when there is something to show, not while Ray starts.
        self._process: subprocess.Popen[bytes] | None = None

    def follow(self) -> None:
        """Put what is new on the study's run."""
        if not self._study.settings.search.page:
            return
        if self._process is None and time.monotonic() - self._began > _FIRST_AFTER_S:
            self._process = self._begin()
        written = self._written()
        if written != self._seen:
            self._seen = written
            self._put()

    def finish(self) -> str | None:
        """Have the page written a last time.

        Returns:
            Why that failed, in a sentence; None if it did not.
        """
        if not self._study.settings.search.page:
            return None
        process = self._process = self._process or self._begin("at-once")
        try:
            # Closes the input, which is the sign to write once more.
            _, said = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"the study's page took longer than {_PATIENCE_S:g} s"
        self._put()
        if process.returncode == 0:
            return None
        words = said.decode(errors="replace").strip().splitlines()
        return f"the study's page was not written ({words[-1] if words else 'no reason given'})"

    def end(self) -> None:
        """End it without a last page, if it is still there."""
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
                self._process.communicate()

    def _begin(self, *how: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "dmu_search.report.study_page", str(self._study.folder), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A Ctrl-C is for the study, which then asks for the last page.
            start_new_session=True,
        )

    def _put(self) -> None:
        folder = self._study.folder
        if not (folder / NOTE_FILE).exists():
            return
        text = (folder / NOTE_FILE).read_text(encoding="utf-8")
        self._recorder.tag(self._study.name, {"mlflow.note.content": text})
        self._recorder.attach(self._study.name, folder / PAGE_FILE)
        self._recorder.attach(self._study.name, folder / PLOTS)

    def _written(self) -> int:
        note: Path = self._study.folder / NOTE_FILE
        return note.stat().st_mtime_ns if note.exists() else 0
