"""Data sets, feature tables and user profiles."""
