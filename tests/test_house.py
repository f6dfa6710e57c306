"""What holds for the repository as a whole: layers, outside systems, pinned versions, servers."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "dmu_search"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each imports only itself and what stands before it; the package itself names what is public, and
# imports it only when it is used.
LAYERS = (
    "",
    "errors",
    "exit_codes",
    "names",
    "folders",
    "records",
    "engine.settings",
    "engine.kernels",
    "engine.networks",
    "engine.tasks",
    "engine.training",
    "engine.plans",
    "engine.__main__",
    "cells",
    "data",
    "generation",
    "testing",
    "config",
    "paper",
    "study",
    "tracking",
    "results",
    "on_ray",
    "retraining",
    "report",
    "cli",
    "api",
    "__main__",
)

# The one place that imports each outside system, below dmu_search/.
PLACES = {
    "hydra": ("config/",),
    "jinja2": ("report/page.py",),
    "matplotlib": ("report/charts.py", "report/piano_roll.py", "report/pictures.py"),
    "mlflow": ("tracking/",),
    "omegaconf": ("config/",),
    "optuna": ("study/",),
    "pandas": ("results/frames.py", "api/studies.py"),
    "plotly": ("report/interactive.py",),
    "pooch": ("data/files.py",),
    "pretty_midi": ("data/midi.py",),
    "ray": ("on_ray/",),
    "rich": ("cli/",),
    "sacrebleu": ("data/bleu.py",),
    "scipy": (
        "data/piano_rolls.py",
        "results/statistics.py",
        "study/gaussian_process.py",
        "study/unit_cube.py",
    ),
    "yaml": ("config/compose.py",),
}

# Functions whose third argument may be given by its place, by the reason for it.
BY_PLACE = {
    "Python calls it": ("ClusterWatch.__exit__", "SearchScreen.__exit__", "Tracking.__exit__"),
    "torch.autograd calls it": (
        "_Affine.forward",
        "_Embed.forward",
        "_Nll.forward",
        "_Project.forward",
        "_SoftmaxNll.backward",
        "_SoftmaxNll.forward",
    ),
    "Ray calls it": (
        "Following.on_trial_result",
        "Following.on_trial_start",
        "StudyScheduler.on_trial_result",
        "StudySearcher.on_trial_complete",
    ),
    "the order of the sum: bias + x @ weight, or states @ weight + bias": (
        "_logits",
        "affine",
        "likeliest_words",
        "multiply",
        "multiply_into",
        "native_affine",
        "native_project",
        "project_notes",
        "softmax_nll",
        "word_nll",
    ),
    "the order of the equation: state = f(weights, x, state)": (
        "Cell.step",
        "DMU.step",
        "GRU.step",
        "LSTM.step",
        "Network.step",
        "RHN.step",
        "RNN.step",
        "Translator.step",
        "blend",
    ),
}


def imports_of(path: Path) -> Iterator[str]:
    """The absolute names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            # `from dmu_search.cli import screen` imports the module dmu_search.cli.screen.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_of(path: Path) -> str:
    """The dotted name of a file's module; of a package, the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("dmu_search", *(part for part in parts if part != "__init__")))


def layer_of(module: str) -> str:
    """The layer of a dotted name; '' for the package's own names, and for those of a folder."""
    below = f"{module}.".removeprefix("dmu_search.")
    fitting = [layer for layer in LAYERS if layer and below.startswith(f"{layer}.")]
    return max(fitting, key=len, default="")


def test_every_module_lies_in_a_layer() -> None:
    # A folder's own file holds at most its docstring where its layers stand for it.
    outside = [name_of(path) for path in MODULES if not layer_of(module_of(path))]
    assert outside == ["__init__.py", "engine/__init__.py"], "put it in its place in LAYERS"
    assert all(
        (PACKAGE / layer.replace(".", "/")).is_dir()
        for layer in LAYERS[1:]
        if not (PACKAGE / f"{layer.replace('.', '/')}.py").is_file()
    )
    assert not list(imports_of(PACKAGE / "engine/__init__.py"))


def test_layers_import_only_earlier_ones() -> None:
    faults = []
    for path in MODULES:
        own = layer_of(module_of(path))
        for module in imports_of(path) if own else ():
            if module.split(".")[0] == "dmu_search":
                imported = layer_of(module)
                if LAYERS.index(imported) > LAYERS.index(own):
                    faults.append(f"{name_of(path)} ({own or 'package'}) imports {module}")
    assert not faults, "\n".join(faults)


def test_the_tree_of_the_architecture_page_is_the_tree_on_disk() -> None:
    page = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"```\n(dmu_search/\n.*?)```", page, flags=re.DOTALL)
    shown = {name for line in tree.splitlines()[1:] for name in line[:31].replace(",", " ").split()}
    rooms = {
        path for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "search_spaces")
    }
    rooms |= {path for path in (PACKAGE / "engine").iterdir() if path.name != "__pycache__"}
    there = {f"{path.name}/" if path.is_dir() else path.name for path in rooms}
    assert shown == there - {"__init__.py", "__main__.py", "py.typed"}


def test_the_engine_needs_torch_and_numpy_only() -> None:
    ours = tuple(
        f"dmu_search.{part}."
        for part in ("engine", "errors", "exit_codes", "folders", "names", "records")
    )
    faults = [
        f"{name_of(path)} imports {module}"
        for path in sorted((PACKAGE / "engine").rglob("*.py"))
        for module in imports_of(path)
        if module.split(".")[0] not in {"torch", "numpy", *sys.stdlib_module_names}
        and not f"{module}.".startswith(ours)
    ]
    assert not faults, "\n".join(faults)


def test_each_outside_system_is_imported_in_one_place() -> None:
    faults = [
        f"{name_of(path)} imports {module}; only {' and '.join(places)} may"
        for path in MODULES
        for module in imports_of(path)
        if (places := PLACES.get(module.split(".")[0])) and not name_of(path).startswith(places)
    ]
    assert not faults, "\n".join(faults)


def test_exit_codes_are_named() -> None:
    programs = [*sorted((PACKAGE / "cli").rglob("*.py")), *sorted(PACKAGE.rglob("__main__.py"))]
    faults = [
        f"{name_of(path)}:{line}: name it as exit_codes.py does"
        for path in programs
        for line in numbers_returned(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def run():\n    return 0\n", [2]),
        ("def run():\n    return 1 if failed else 2\n", [2]),
        ("def run():\n    return int(bool(faults))\n", [2]),
        ("sys.exit(130)\n", [1]),
        ("raise SystemExit(2)\n", [1]),
        ("def run():\n    return DONE\n", []),
        ("def run():\n    return SOME_FAILED if failed else DONE\n", []),
        ("def name():\n    return values[0]\n", []),
    ],
)
def test_numbers_returned_are_found(source: str, lines: list[int]) -> None:
    assert numbers_returned(source) == lines


def test_arguments_after_the_second_are_given_by_name() -> None:
    found = [
        (name, f"{name_of(path)}:{line}: {name} takes more than two arguments by place")
        for path in MODULES
        for name, line in taking_three_by_place(path.read_text(encoding="utf-8"))
    ]
    allowed = {name for names in BY_PLACE.values() for name in names}
    faults = [fault for name, fault in found if name not in allowed]
    assert not faults, "\n".join(faults)
    assert allowed == {name for name, _ in found}, "no longer needed in BY_PLACE"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(a, b, c): return a", ["f"]),
        ("def f(a, b, /, c=1): return a", ["f"]),
        ("def f(a, b, *, c): return a", []),
        ("def f(a, b, *rest): return a", []),
        ("class A:\n    def f(self, a, b): return a", []),
        ("class A:\n    def f(self, a, b, c): return a", ["A.f"]),
        ("class A:\n    @classmethod\n    def f(cls, a, b, c): return a", ["A.f"]),
        ("class A:\n    @staticmethod\n    def f(a, b, c): return a", ["A.f"]),
        ("def f(a):\n    def g(a, b, c): return a", ["f.g"]),
        ("if x:\n    async def f(a, b, c): return a", ["f"]),
    ],
)
def test_three_arguments_by_place_are_found(source: str, names: list[str]) -> None:
    assert [name for name, _ in taking_three_by_place(source)] == names


def test_everything_imported_is_declared() -> None:
    declared = {canonicalize_name(each.name) for each in requirements("dependencies")}
    providers = packages_distributions()
    outside = {module.split(".")[0] for path in MODULES for module in imports_of(path)}
    missing = [
        module
        for module in sorted(outside - set(sys.stdlib_module_names) - {"dmu_search"})
        if not declared & {canonicalize_name(name) for name in providers.get(module, ())}
    ]
    assert not missing, f"imported, but not among the dependencies: {missing}"


def test_the_package_itself_is_imported_at_once() -> None:
    program = "import sys; import dmu_search; print(sorted(n for n in sys.modules if '.' not in n))"
    (loaded,) = run_here([sys.executable, "-c", program]).stdout.splitlines()
    others = {module.split(".")[0] for path in MODULES for module in imports_of(path)}
    others -= {*sys.stdlib_module_names, "dmu_search"}
    assert not others & set(ast.literal_eval(loaded))


@pytest.mark.parametrize("words", [["--help"], ["tune", "--help"], ["--version"]])
def test_help_is_quick(words: list[str]) -> None:
    heavy = ("torch", "ray", "mlflow", "optuna", "scipy", "matplotlib")
    program = (
        "import sys; from dmu_search.cli.main import main; main(sys.argv[1:]); "
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    printed = run_here([sys.executable, "-c", program, *words]).stdout
    assert printed.splitlines()[-1] == "loaded: []"


def test_folder_mlflow_does_not_hide_the_library() -> None:
    assert (REPOSITORY / "mlflow").is_dir()
    assert not list((REPOSITORY / "mlflow").rglob("*.py"))
    # With -c, as for `python -m dmu_search`, the working directory comes first in the search path.
    program = "import sys; from importlib.util import find_spec; print(find_spec('mlflow').origin)"
    (found,) = run_here([sys.executable, "-c", program]).stdout.splitlines()
    assert Path(found).name == "__init__.py"
    assert not Path(found).is_relative_to(REPOSITORY / "mlflow")


def test_constraints_satisfy_the_declared_ranges() -> None:
    pinned = constraints()
    for requirement in requirements("dependencies", "test", "dev", "docs", "server", "browser"):
        name = canonicalize_name(requirement.name)
        if name == "dmu-search":
            continue  # its own extra
        assert name in pinned, f"constraints.txt: {name} is missing"
        assert requirement.specifier.contains(pinned[name]), f"{requirement}, not {pinned[name]}"


def test_constraints_fit_every_machine() -> None:
    assert [name for name, version in constraints().items() if version.local] == []


def test_no_stubs() -> None:
    faults = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in sorted([*MODULES, *(REPOSITORY / "tests").rglob("*.py")])
        for line in stubs(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def f():\n    ...\n", [1]),
        ("def f():\n    '''Later.'''\n    pass\n", [1]),
        ("raise NotImplementedError\n", [1]),
        ("raise NotImplementedError('soon')\n", [1]),
        ("x = 1  # TO" + "DO: more\n", [1]),
        ("class A(Protocol):\n    def f(self): ...\n", []),
        ("class A:\n    def f(self): ...\n", [2]),
        ("class A:\n    @abstractmethod\n    def f(self): ...\n", []),
        ("def f():\n    '''A hook that does nothing.'''\n", []),
    ],
)
def test_stubs_are_found(source: str, lines: list[int]) -> None:
    assert stubs(source) == lines


def test_cluster_file_fits_rays_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.chdir(REPOSITORY)
    config = prepare_config(cluster_file())
    validate_config(config)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
    token = "~/.ray/auth_token"
    for remote, local in config["file_mounts"].items():
        assert remote == token or Path(local).exists(), f"cluster.yaml: there is no {local}"


def test_cluster_file_asks_for_the_token_on_every_node() -> None:
    config = cluster_file()
    for kind in ("head", "worker"):
        (start,) = [line for line in config[f"{kind}_start_ray_commands"] if "ray start" in line]
        assert "export RAY_AUTH_MODE=token &&" in start
        assert start.startswith(". ~/dmu_search_env/bin/activate &&")
        assert ("--dashboard-host=127.0.0.1" in start) == (kind == "head")


@pytest.mark.slow
def test_cluster_head_takes_jobs_with_the_token_only() -> None:
    port, dashboard, client, agent = free_ports(4)
    (start,) = [each for each in cluster_file()["head_start_ray_commands"] if "ray start" in each]
    # The launcher writes the autoscaler's file; this head stays alone.
    start = re.sub(r"--autoscaling-config=\S+", "", start).replace("6379", str(port))
    # Short, for the sockets' paths; the home holds what the launcher would have put there.
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        write(Path(home, ".ray/auth_token"), "a-token-of-more-than-thirty-two-letters")
        write(
            Path(home, "dmu_search_env/bin/activate"),
            f'export PATH="{Path(sys.executable).parent}:$PATH"\n',
        )
        start += (
            f" --block --temp-dir={home}/ray --num-cpus=1 --object-store-memory=100000000"
            f" --dashboard-port={dashboard} --ray-client-server-port={client}"
            f" --dashboard-agent-listen-port={agent}"
        )
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        with running(["bash", "-c", start], {**inherited, "HOME": home}) as head:
            jobs = f"http://127.0.0.1:{dashboard}/api/jobs/"
            assert eventually(lambda: status(jobs), head) == 401
            assert status(jobs, token="a-wrong-token-of-more-than-32-letters") in (401, 403)
            # A server on all addresses would answer here too.
            with pytest.raises(OSError, match=r"refused|timed out|unreachable|assign"):
                socket.create_connection(("127.0.0.2", dashboard), timeout=5)

            token = Path(home, ".ray/auth_token").read_text(encoding="utf-8")
            # What a search does first: `python` of the environment, which joins the cluster.
            program = "import ray; ray.init('auto'); print(ray.cluster_resources()['CPU'])"
            entrypoint = f'python -c "{program}"'
            job = fetch(jobs, token=token, body={"entrypoint": entrypoint})["submission_id"]
            ended = ("SUCCEEDED", "FAILED", "STOPPED")
            eventually(lambda: fetch(jobs + job, token=token)["status"] in ended, head)
            logs = fetch(f"{jobs}{job}/logs", token=token)["logs"]
            assert fetch(jobs + job, token=token)["status"] == "SUCCEEDED", logs
            assert logs.strip().endswith("1.0")


@pytest.mark.slow
def test_mlflow_serve_shows_a_local_store(tmp_path: Path) -> None:
    import mlflow

    store = tmp_path / "out put"
    store.mkdir()
    client = mlflow.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    location = (store / "mlartifacts").as_uri()
    run = client.create_run(client.create_experiment("dmu_search", artifact_location=location))
    write(tmp_path / "best.yaml", "config: 1\n")
    client.log_artifact(run.info.run_id, str(tmp_path / "best.yaml"))

    (port,) = free_ports(1)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(REPOSITORY / "mlflow/serve"), str(store), str(port)]
    with running(command, {**os.environ, "PATH": path}) as server:
        page = f"http://127.0.0.1:{port}"
        assert eventually(lambda: status(page), server) == 200
        found = fetch(f"{page}/api/2.0/mlflow/experiments/search", body={"max_results": 10})
        assert "dmu_search" in [each["name"] for each in found["experiments"]]
        artifact = f"{page}/get-artifact?path=best.yaml&run_uuid={run.info.run_id}"
        with urlopen(artifact, timeout=30) as answer:
            assert answer.read() == b"config: 1\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], r"nowhere/mlflow\.db: there is no store here yet"),
        (["runs", "abc"], "PORT is a number, got 'abc'"),
        (["a", "1", "b"], "usage: mlflow/serve"),
    ],
)
def test_mlflow_serve_says_what_is_wrong(words: list[str], message: str, tmp_path: Path) -> None:
    command = ["bash", str(REPOSITORY / "mlflow/serve"), *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert re.search(message, ended.stderr)


def requirements(*groups: str) -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tables = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    return [Requirement(line) for group in groups for line in tables[group]]


def constraints() -> dict[str, Version]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def cluster_file() -> dict:
    return yaml.safe_load((REPOSITORY / "cluster.yaml").read_text(encoding="utf-8"))


def stubs(source: str) -> list[int]:
    """Lines of unfinished code: a body that is only ``...`` or ``pass``, or a note for later."""
    tree = ast.parse(source)
    # A protocol has no bodies, and a subclass may override a hook with nothing.
    allowed = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases
        for child in node.body
    }
    later = re.compile(r"#.*\b(?:TO[D]O|FIX[M]E|XX[X])\b")
    lines = [row for row, line in enumerate(source.splitlines(), 1) if later.search(line)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and id(node) not in allowed:
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            empty = bool(body) and all(
                isinstance(part, ast.Pass)
                or (
                    isinstance(part, ast.Expr)
                    and isinstance(part.value, ast.Constant)
                    and part.value.value is ...
                )
                for part in body
            )
            if empty and not re.search("abstractmethod|overload", decorators):
                lines.append(node.lineno)
        elif isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node):
            lines.append(node.lineno)
    return sorted(lines)


def numbers_returned(source: str) -> list[int]:
    """Lines where a program ends with a number, or with a truth value turned into one."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Return):
            ends: list[ast.expr | None] = [node.value]
        elif isinstance(node, ast.Call) and re.search(
            r"\bexit$|SystemExit$", ast.unparse(node.func)
        ):
            ends = list(node.args)
        else:
            continue
        for end in ends:
            cases = [end.body, end.orelse] if isinstance(end, ast.IfExp) else [end]
            lines += [
                node.lineno
                for case in cases
                if (isinstance(case, ast.Constant) and type(case.value) is int)
                or (isinstance(case, ast.Call) and ast.unparse(case.func) == "int")
            ]
    return sorted(set(lines))


def taking_three_by_place(source: str) -> list[tuple[str, int]]:
    """Qualified names and lines of functions with three or more positional arguments."""
    found = []

    def look(node: ast.AST, outer: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                look(child, outer)
                continue
            names = (*outer, child.name)
            if not isinstance(child, ast.ClassDef):
                static = "staticmethod" in map(ast.unparse, child.decorator_list)
                bound = isinstance(node, ast.ClassDef) and not static
                if len(child.args.posonlyargs + child.args.args) - bound > 2:
                    found.append((".".join(names), child.lineno))
            look(child, names)

    look(ast.parse(source), ())
    return found


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_here(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )


@contextmanager
def running(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen]:
    """A server for the length of a ``with`` block; ends it and what it started."""
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield server
        except BaseException:
            output.seek(0)
            print(output.read())
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listeners]
    for each in listeners:
        each.close()
    return ports


def eventually(probe: Callable[[], object], server: subprocess.Popen) -> object:
    """The first true answer of ``probe`` while ``server`` runs, within two minutes."""
    deadline = time.monotonic() + 120
    while not (answer := probe()):
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(0.5)
    return answer


def status(address: str, token: str | None = None) -> int | None:
    """The HTTP status of an address; None while nobody answers there."""
    try:
        with _open(address, token, None) as answer:
            return answer.status
    except HTTPError as fault:
        return fault.code
    except (URLError, ConnectionError):
        return None


def fetch(address: str, token: str | None = None, body: dict | None = None) -> dict:
    with _open(address, token, body) as answer:
        return json.load(answer)


def _open(address: str, token: str | None, body: dict | None):
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    return urlopen(Request(address, data=data, headers=headers), timeout=30)
