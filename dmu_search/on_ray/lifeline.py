"""Whether Ray answers; Ray itself ends the process a minute after its head, in silence."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from dmu_search.errors import ClusterError, DmuSearchError

# Looks in a row without an answer that make a loss: one can be an accident of the network.
_LOOKS = 3
_ANSWER_S = 2.0


@dataclass(frozen=True)
class Lifeline:
    """What of Ray has to answer as long as a command uses it.

    Attributes:
        places: name in words -> host and port where it listens.
    """

    places: Mapping[str, tuple[str, int]]

    @classmethod
    def of_session(cls) -> "Lifeline":
        """Of the Ray that this process has started or joined."""
        context = ray.get_runtime_context()
        host, _, port = context.gcs_address.rpartition(":")
        (own,) = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
        return cls(
            {
                f"Ray's head process at {context.gcs_address}": (host, int(port)),
                "Ray's raylet on this machine": (
                    own["NodeManagerAddress"],
                    own["NodeManagerPort"],
                ),
            }
        )

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Turn whatever Ray raises once it is lost, for a ``with`` block, into a sentence.

        Raises:
            ClusterError: Ray is lost.
        """
        try:
            yield
        except DmuSearchError:
            raise
        except Exception:
            if (lost := self.fault()) is not None:
                raise lost from None
            raise

    def fault(self) -> ClusterError | None:
        """What no longer answers; None while all is well."""
        for _ in range(_LOOKS):
            silent = self._silent()
            if silent is None:
                return None
            time.sleep(0.1)
        return ClusterError(
            f"{silent} no longer answers: it was killed, by somebody or by the system for want of "
            "memory, or its machine is lost"
        )

    def _silent(self) -> str | None:
        for name, place in self.places.items():
            try:
                socket.create_connection(place, timeout=_ANSWER_S).close()
            except OSError:
                return name
        return None
