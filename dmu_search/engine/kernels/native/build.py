"""Builds the native recurrence at first use, and remembers why it cannot where it cannot.

The library lies in the user's cache folder under a name that says what it was made from: sources,
flags, compiler and processor. It is built under another name and then renamed, which either
happens whole or not at all; so processes that start together (Ray's workers) never see half a
library, and at worst each builds the same one.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch

SOURCES = Path(__file__).parent
# No errno and no traps: with them, a compiler may not compute lanes that nobody asked for.
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
# What not every compiler knows, or not for every processor: tried in this order. GCC tunes for some
# processors by rounding products before it adds them, but not in all copies of the inner loop: then
# a row's result would depend on how many rows are computed with it.
MACHINE_FLAGS = (
    ("-march=native", "--param=avoid-fma-max-bits=0"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
REAL_TYPES = {torch.float32: "float", torch.float64: "double"}
BUILD_TIMEOUT_S = 300


class NativeUnavailableError(Exception):
    """The native recurrence cannot be had here; the message says why."""


@cache
def load_library(dtype: torch.dtype) -> ctypes.CDLL:
    """The library for a precision, built if it is not in the cache yet.

    Args:
        dtype: a key of ``REAL_TYPES``.

    Raises:
        NativeUnavailableError: there is no working compiler, or no folder to build in.
    """
    library = _built_library(REAL_TYPES[dtype])
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError as error:
        raise NativeUnavailableError(
            f"the library cannot be loaded: {error}; delete {library} to build it anew"
        ) from error
    loaded.run.argtypes = [ctypes.c_void_p, ctypes.c_int]
    loaded.run.restype = ctypes.c_int
    for size in (loaded.lane_count, loaded.vector_width):
        size.argtypes = []
        size.restype = ctypes.c_int64
    for name in ("multiply", "correlate", "add_rows", "collect_rows", "note_nll", "note_slopes"):
        getattr(loaded, name).argtypes = [ctypes.c_void_p]
        getattr(loaded, name).restype = None
    loaded.keep_freed_memory.argtypes = []
    loaded.keep_freed_memory.restype = None
    loaded.keep_freed_memory()
    return loaded


@cache
def _build_problem(dtype: torch.dtype) -> str | None:
    """Why there is no library for a precision, told once; None where there is one."""
    try:
        load_library(dtype)
    except NativeUnavailableError as error:
        warnings.warn(
            f"the recurrence runs in PyTorch, several times slower than natively: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return str(error)
    return None


def native_problem(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why tensors of this kind cannot go through the native recurrence; None where they can.

    It builds the library if that has not been tried yet.
    """
    if device.type != "cpu":
        return f"the native backend runs on the CPU, not on {device.type}"
    if dtype not in REAL_TYPES:
        return f"the native backend computes in float32 and float64, not in {dtype}"
    return _build_problem(dtype)


def cache_folder() -> Path:
    """Where built libraries are kept: ``dmu_search/native`` in the user's cache folder."""
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "dmu_search" / "native"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dmu_search" / "native"
    return Path.home() / ".cache" / "dmu_search" / "native"


def compiler() -> list[str]:
    """Command of the C++ compiler: ``$CXX``, or the first of the usual names that exists.

    Raises:
        NativeUnavailableError: there is none.
    """
    if command := os.environ.get("CXX"):
        return shlex.split(command)
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return [path]
    raise NativeUnavailableError(
        "there is no C++ compiler (looked for $CXX, c++, g++, clang++); "
        "install one, such as Debian's package g++"
    )


def build_name(dtype: torch.dtype) -> str:
    """Short name of the library for a precision: of its sources, flags, compiler and processor.

    Args:
        dtype: a key of ``REAL_TYPES``, whose library is loaded.
    """
    return _built_library(REAL_TYPES[dtype]).stem.rpartition("-")[2]


def _built_library(real: str) -> Path:
    command = compiler()
    folder = cache_folder()
    library = folder / f"recurrence-{real}-{_fingerprint(command, real)}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the same folder, because renaming is atomic only within a file system.
        with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
            built = Path(scratch) / library.name
            _compile(command, real, built=built)
            built.replace(library)
    except OSError as error:
        raise NativeUnavailableError(f"cannot build in {folder}: {error}") from error
    return library


def _compile(command: list[str], real: str, *, built: Path) -> None:
    source = str(SOURCES / "recurrence.cpp")
    complaints = ""
    for machine in MACHINE_FLAGS:
        arguments = [*FLAGS, *machine, f"-DREAL={real}", source, "-o", str(built), "-pthread"]
        complaints = _run([*command, *arguments])
        if not complaints:
            return
    raise NativeUnavailableError(f"{shlex.join(command)} failed: {complaints}")


def _run(command: list[str]) -> str:
    """Run a compiler; returns what is wrong, in one line, or nothing."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=BUILD_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [f"exit code {done.returncode}"])[0].strip()


def _fingerprint(command: list[str], real: str) -> str:
    """Hash of everything that decides what the library is and where it runs."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]pp")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    # Without a version there is no compiler worth the name; building will say so.
    version = subprocess_output([*command, "--version"])
    described = (FLAGS, MACHINE_FLAGS, command, version, real, platform.machine(), _processor())
    digest.update(repr(described).encode())
    return digest.hexdigest()[:16]


def subprocess_output(command: list[str]) -> str:
    """Standard output of a short command, empty if it cannot be run."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _processor() -> str:
    """Model and abilities of the processor: a cache folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))
