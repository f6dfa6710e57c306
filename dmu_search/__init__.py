"""Distributed hyperparameter search for recurrent networks (DMU, RHN, LSTM, GRU, RNN)."""

__version__ = "0.1.0"
