"""Running a study's trials with Ray Tune; the only users of Ray."""
