"""Where runs go beside their records: an MLflow store or server."""

from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from socket import gaierror
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import urlopen

from dmu_search.errors import TrackingError
from dmu_search.folders import check_writable, claimed
from dmu_search.tracking.mlflow_runs import SERVERS, MlflowRuns, connect, unusable

if TYPE_CHECKING:
    # Settings bring torch along, which the process that sends has no use for.
    from dmu_search.config.settings import TrackingSettings

_LISTENS_WITHIN_S = 10.0


@dataclass(frozen=True)
class Store:
    """Where runs go.

    Attributes:
        uri: of the store or server.
        experiment: its name.
        output_dir: of the records.
    """

    uri: str
    experiment: str
    output_dir: Path

    @property
    def _making(self) -> Path:
        return self.output_dir / "mlartifacts"

    def check(self) -> bool:
        """Whether it answers, or is still to be made; creates nothing.

        Raises:
            TrackingError: it cannot be reached.
            StorageError: its file cannot be made.
        """
        file = self.uri.removeprefix("sqlite:///")
        if file != self.uri and not Path(file).exists():
            check_writable(Path(file))
            return False
        # While another command makes the store, its tables are half there.
        with claimed(self._making, wait=True) if self._making.is_dir() else nullcontext():
            connect(self.uri)
        return True

    def open(self) -> MlflowRuns:
        """The runs in it; makes what is missing.

        Raises:
            TrackingError: it cannot be used.
            StorageError: its folder cannot be written.
        """
        # Two commands that make one store at a time would each find the other's half-made tables.
        with claimed(self._making, wait=True):
            return MlflowRuns(self.uri, self.experiment, artifact_root=self._making)

    @property
    def name(self) -> str:
        """Of its folder among those that say how far records have come."""
        return sha256(f"{self.uri} {self.experiment}".encode()).hexdigest()[:12]


def store_of(settings: "TrackingSettings", output_dir: Path) -> Store:
    """The store that ``settings`` name, or that of ``output_dir``."""
    return Store(settings.uri or default_uri(output_dir), settings.experiment, output_dir)


def default_uri(output_dir: Path) -> str:
    """The store that is used where none is named: one SQLite file under ``output_dir``."""
    return f"sqlite:///{output_dir.resolve() / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    """Whether a server is there, and no store's file or database."""
    return urlparse(uri).scheme in SERVERS


def check_address(uri: str) -> None:
    """Find out in a moment, without MLflow, whether something can be at an address.

    Raises:
        TrackingError: nothing can, or nobody listens there.
    """
    scheme = urlparse(uri).scheme
    if scheme in ("", "file"):
        raise TrackingError(
            f"tracking.uri={uri}: MLflow keeps no runs in plain folders; "
            "use sqlite:///FILE.db, http(s)://HOST:PORT, or none for records only"
        )
    if scheme not in ("http", "https"):
        return
    try:
        # Through a proxy, where the environment names one, as MLflow does.
        urlopen(uri, timeout=_LISTENS_WITHIN_S).close()
    except URLError as fault:
        # Whatever it answers is for MLflow to judge.
        if isinstance(fault.reason, ConnectionError | gaierror | TimeoutError):
            raise unusable(uri, fault.reason) from None
    except (OSError, HTTPException):
        pass
