"""Training all replicas of a network as one program."""
