"""Trainers, and going on after a kill."""
