"""The errors a user can meet, each a sentence that says where, what rule, and the way out."""


class DmuSearchError(Exception):
    """Base of all errors that the command line prints without a traceback.

    Args:
        faults: every fault found, one sentence each; they are reported together.
    """

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


class ConfigError(DmuSearchError, ValueError):
    """Bad input: a configuration, an override or a search space that breaks a rule."""


class DataError(DmuSearchError):
    """A data set that is missing, truncated, altered or unreadable."""


class StorageError(DmuSearchError):
    """A folder or file of results that cannot be read or written."""


class TrackingError(DmuSearchError):
    """A tracking server or store that cannot be used."""


class TrialError(DmuSearchError):
    """A search or training that ended without a usable result (exit code 1)."""


class ClusterError(DmuSearchError):
    """Ray, lost while it was used (exit code 1)."""
