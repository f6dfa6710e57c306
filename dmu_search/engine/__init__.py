"""Training of recurrent networks, replicas being an axis of every tensor. Needs torch and numpy.

Axes, everywhere in this package: ``(replica, batch, time, feature)``. Sequences of different
lengths travel packed, without padded work, as ``(replica, row, feature)`` (see ``rows``).
"""
