import subprocess
import sys
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from dmu_search.data import DataStore, MissingFileError, file_status, locate
from dmu_search.data.files import MIRROR_VARIABLE
from dmu_search.data.settings import DataSettings
from dmu_search.errors import DataError

from .conftest import CONTENT


@pytest.fixture
def store(tmp_path):
    for name in ("cache", "mirror"):
        (tmp_path / name).mkdir()
    return DataStore(root=tmp_path / "cache", mirror=tmp_path / "mirror")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class CutHandler(QuietHandler):
    """Promises the whole file and hangs up in the middle of it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:500])


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Start a web server that serves some bytes as tunes.bin; returns its address."""
    monkeypatch.setenv("NO_PROXY", "*")
    servers = []

    def start(content: bytes, handler=QuietHandler) -> str:
        folder = tmp_path / "upstream"
        folder.mkdir()
        (folder / "tunes.bin").write_bytes(content)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/tunes.bin"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_cache_comes_before_the_mirror(data_file, store):
    (store.mirror / data_file.name).write_bytes(CONTENT)
    assert locate(data_file, store) == store.mirror / data_file.name
    assert list(store.root.iterdir()) == []
    (store.root / data_file.name).write_bytes(CONTENT)
    assert locate(data_file, store) == store.root / data_file.name


@pytest.mark.parametrize("folder", ["root", "mirror"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (CONTENT[:500], "truncated or altered: 1200 bytes expected, got 500"),
        (CONTENT[::-1], "altered: sha256 .* expected, got [0-9a-f]{64}"),
    ],
)
def test_a_bad_copy_is_an_error_and_is_not_replaced(data_file, store, folder, content, fault):
    path = getattr(store, folder) / data_file.name
    path.write_bytes(content)
    with pytest.raises(DataError, match=fault) as caught:
        locate(data_file, store)
    assert not isinstance(caught.value, MissingFileError)
    assert f"delete {path}" in str(caught.value)
    assert data_file.url in str(caught.value)
    assert path.read_bytes() == content


def test_something_else_under_the_name_is_an_error(data_file, store):
    (store.root / data_file.name).mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        locate(data_file, store)


def test_a_missing_file_names_the_address_the_hash_and_the_ways_out(data_file, store, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(MissingFileError, match=r"Connection refused|actively refused") as caught:
        locate(data_file, store)
    message = str(caught.value)
    for part in (
        str(store.root / data_file.name),
        str(store.mirror),
        data_file.url,
        data_file.sha256,
        f"as {data_file.name} into any folder",
        "data.mirror=FOLDER",
        MIRROR_VARIABLE,
        "data.corpus=demo",
    ):
        assert part in message
    assert "\n" not in message
    assert "Max retries" not in message
    assert caught.value.__suppress_context__


def test_a_mirror_that_does_not_exist_is_an_error_even_with_the_file_cached(data_file, tmp_path):
    (tmp_path / data_file.name).write_bytes(CONTENT)
    store = DataStore(root=tmp_path, mirror=tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere: this mirror folder does not exist"):
        locate(data_file, store)


def test_a_download_is_kept_in_the_cache(data_file, store, serve):
    served = replace(data_file, url=serve(CONTENT))
    assert locate(served, store) == store.root / "tunes.bin"
    assert (store.root / "tunes.bin").read_bytes() == CONTENT
    assert list(store.mirror.iterdir()) == []
    # The dead address of the fixture shows that the second time needs no server.
    assert locate(data_file, store) == store.root / "tunes.bin"


def test_an_altered_download_is_an_error_and_leaves_nothing(data_file, store, serve):
    served = replace(data_file, url=serve(b"<html>not here</html>"))
    with pytest.raises(DataError, match="not the expected file") as caught:
        locate(served, store)
    assert not isinstance(caught.value, MissingFileError)
    assert data_file.sha256 in str(caught.value)
    assert list(store.root.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing(data_file, store, serve):
    served = replace(data_file, url=serve(CONTENT, CutHandler))
    with pytest.raises(MissingFileError, match="500 bytes read"):
        locate(served, store)
    assert list(store.root.iterdir()) == []


def test_a_file_gone_from_its_address_says_so(data_file, store, serve):
    served = replace(data_file, url=serve(CONTENT) + ".gone")
    with pytest.raises(MissingFileError, match="404 Client Error"):
        locate(served, store)


def test_a_cache_folder_that_cannot_be_made_names_the_setting(data_file, tmp_path, serve):
    (tmp_path / "file").touch()
    served = replace(data_file, url=serve(CONTENT))
    with pytest.raises(DataError, match=r"cannot be written .*data\.root=FOLDER"):
        locate(served, DataStore(root=tmp_path / "file" / "cache"))


def test_status_says_where_each_file_is_and_whether_it_is_intact(data_file, store):
    missing = file_status(data_file, store)
    assert (missing.place, missing.state, missing.path) == ("missing", "missing", None)
    (store.mirror / data_file.name).write_bytes(CONTENT)
    intact = file_status(data_file, store)
    assert (intact.place, intact.state, intact.size_bytes) == ("mirror", "ok", len(CONTENT))
    (store.root / data_file.name).write_bytes(CONTENT[:7])
    altered = file_status(data_file, store)
    assert (altered.place, altered.state, altered.size_bytes) == ("cache", "altered", 7)
    assert "got 7" in altered.problem


def test_the_environment_names_the_mirror_only_where_no_setting_does(monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, "/from/environment")
    assert DataStore.from_settings(DataSettings()).mirror == Path("/from/environment")
    setting = DataSettings(mirror=Path("/from/setting"))
    assert DataStore.from_settings(setting).mirror == setting.mirror
    monkeypatch.setenv(MIRROR_VARIABLE, "")
    assert DataStore.from_settings(DataSettings()) == DataStore()
    assert DataStore.from_settings(DataSettings(root=Path("~/data"))).root == Path.home() / "data"


def test_the_default_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "dmu_search" in str(DataStore().cache_folder)


@pytest.mark.slow
def test_a_machine_with_the_files_needs_no_pooch(data_file, tmp_path):
    (tmp_path / data_file.name).write_bytes(CONTENT)
    code = f"""
import sys
from pathlib import Path
from dmu_search.data import DataFile, DataStore, locate
locate({data_file!r}, DataStore(root=Path({str(tmp_path)!r})))
assert not {{"pooch", "pretty_midi"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
