"""Trainings that were planned: carried out, recorded and resumed."""
