"""Running a study's trials with Ray Tune; the only users of Ray."""

import os

# Ray reads these when it is imported, which every module of this folder does.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables; ours replace them
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the records hold it all
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # the journal has the state
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
# Our handler turns the first Ctrl-C into Tune's orderly stop, wherever it comes.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# A Ray that this process starts listens on the loopback only (Ray means it for other systems). It
# changes nothing for one that is joined: its addresses are its own.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
