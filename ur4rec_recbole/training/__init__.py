"""Trainers, and resuming after a kill."""
