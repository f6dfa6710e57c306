"""The study: what is searched, tried and stopped; its journal; the only users of Optuna."""
