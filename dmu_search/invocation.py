"""How a user calls this program, for the commands that it prints."""

import shlex
import shutil
import sys
from pathlib import Path


def python_command() -> str:
    """The running interpreter as a shell finds it: ``python``, or a path like ``.venv/bin/python``.

    A command that is printed must work when it is pasted, also where no environment is activated.
    """
    # Folders are compared: an environment's python is a link to the one that made it.
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent == Path(sys.executable).parent:
        return "python"
    own = Path(sys.executable)
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))


def command(*words: str) -> str:
    """A command line of this program, quoted for a shell."""
    return f"{python_command()} -m dmu_search {shlex.join(words)}"
