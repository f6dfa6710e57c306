"""Building the native backend, and falling back where that is impossible."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dmu_search.engine.kernels import backend
from dmu_search.engine.kernels.backend import choose_backend
from dmu_search.engine.kernels.native import build
from dmu_search.errors import ConfigError

CPU = torch.device("cpu")
HAS_COMPILER = build.native_problem(CPU, torch.float32) is None
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler here")
# Compilers take a third of the time when they need not optimise.
QUICK_FLAGS = tuple(flag.replace("-O3", "-O0") for flag in build.FLAGS)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not tried to build yet, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(backend.BACKEND_VARIABLE, raising=False)
    monkeypatch.setattr(build, "FLAGS", QUICK_FLAGS)
    forget()
    yield monkeypatch
    forget()


def forget() -> None:
    build.load_library.cache_clear()
    build._build_problem.cache_clear()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "dmu_search" / "native").iterdir())


@pytest.mark.slow
@needs_compiler
def test_native_is_the_first_choice_and_is_built_once(
    unbuilt: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert choose_backend(CPU, torch.float32).name == "native"
    (library,) = cached(tmp_path)
    assert library.startswith("recurrence-float-")
    forget()
    unbuilt.setattr(build, "_compile", lambda *_, **__: pytest.fail("built again"))
    assert choose_backend(CPU, torch.float32) == choose_backend(CPU, torch.float32)


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/nowhere/c++", "No such file"),
        ("false", "false failed: exit code 1"),
        ("sh -c 'echo fatal error: out of luck >&2; exit 3'", "fatal error: out of luck"),
        ("true", "cannot build in"),
    ],
)
def test_a_broken_compiler_falls_back_with_one_warning(
    unbuilt: pytest.MonkeyPatch, tmp_path: Path, compiler: str, reason: str
) -> None:
    unbuilt.setenv("CXX", compiler)
    with pytest.warns(RuntimeWarning, match="runs in PyTorch, several times slower") as caught:
        choice = choose_backend(CPU, torch.float32)
    assert len(caught) == 1
    assert choice.name == "reference"
    assert reason in choice.reason
    assert cached(tmp_path) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_backend(CPU, torch.float32) == choice


def test_no_compiler(unbuilt: pytest.MonkeyPatch) -> None:
    unbuilt.delenv("CXX", raising=False)
    unbuilt.setenv("PATH", "/nowhere")
    with pytest.warns(RuntimeWarning, match=r"no C\+\+ compiler .* install one"):
        assert choose_backend(CPU, torch.float32).name == "reference"


def test_a_cache_folder_that_cannot_be_made(unbuilt: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unbuilt.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="cannot build in .*file/dmu_search/native"):
        assert choose_backend(CPU, torch.float32).name == "reference"


@pytest.mark.slow
@needs_compiler
def test_a_library_that_cannot_be_loaded(unbuilt: pytest.MonkeyPatch) -> None:
    build._built_library("float").write_text("no library")
    with pytest.warns(RuntimeWarning, match="cannot be loaded.*delete"):
        assert choose_backend(CPU, torch.float32).name == "reference"


def test_the_variable_chooses(unbuilt: pytest.MonkeyPatch) -> None:
    unbuilt.setenv(backend.BACKEND_VARIABLE, "reference")
    unbuilt.setattr(build, "_compile", lambda *_, **__: pytest.fail("built"))
    choice = choose_backend(CPU, torch.float32)
    assert (choice.name, choice.reason) == ("reference", "DMU_SEARCH_BACKEND=reference")


def test_graphs_are_the_choice_of_a_gpu(unbuilt: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert choose_backend(gpu, torch.float32).name == "graphs"
    unbuilt.setenv(backend.BACKEND_VARIABLE, "reference")
    assert choose_backend(gpu, torch.float32).name == "reference"
    unbuilt.setenv(backend.BACKEND_VARIABLE, "graphs")
    with pytest.raises(ConfigError, match="=graphs: CUDA graphs need a GPU, not the cpu"):
        choose_backend(CPU, torch.float32)


def test_an_unknown_backend(unbuilt: pytest.MonkeyPatch) -> None:
    unbuilt.setenv(backend.BACKEND_VARIABLE, "fortran")
    with pytest.raises(
        ConfigError, match="must be one of graphs, native, reference, got 'fortran'"
    ):
        choose_backend(CPU, torch.float32)


@pytest.mark.filterwarnings("ignore:the recurrence runs in PyTorch")
def test_native_where_it_cannot_be_had(unbuilt: pytest.MonkeyPatch) -> None:
    unbuilt.setenv(backend.BACKEND_VARIABLE, "native")
    unbuilt.setenv("CXX", "false")
    with pytest.raises(
        ConfigError, match=r"DMU_SEARCH_BACKEND=native: false failed.*leave the variable out"
    ):
        choose_backend(CPU, torch.float32)
    with pytest.raises(ConfigError, match=r"float32 and float64, not in torch\.bfloat16"):
        choose_backend(CPU, torch.bfloat16)


def test_other_devices_and_precisions_take_the_reference(unbuilt: pytest.MonkeyPatch) -> None:
    assert choose_backend(torch.device("meta"), torch.float32).name == "reference"
    assert choose_backend(CPU, torch.bfloat16).name == "reference"


@needs_compiler
@pytest.mark.slow
def test_processes_that_build_at_once_do_not_race(tmp_path: Path) -> None:
    """All start with an empty cache; each gets a working library, and one is left."""
    script = (
        f"from dmu_search.engine.kernels.native import build; build.FLAGS = {QUICK_FLAGS};"
        "import torch; from dmu_search.engine.kernels.products import affine;"
        "ones = torch.ones(1, 1, 1);"
        "assert affine(ones, ones, ones).item() == 2;"
        "from dmu_search.engine.kernels.backend import choose_backend;"
        "assert choose_backend(ones.device, ones.dtype).name == 'native'"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    environment.pop(backend.BACKEND_VARIABLE, None)
    workers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", script], env=environment)
        for _ in range(3)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0, 0]
    assert len(cached(tmp_path)) == 1


@pytest.mark.slow
def test_importing_builds_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    script = "import dmu_search.engine.training.trainer"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
