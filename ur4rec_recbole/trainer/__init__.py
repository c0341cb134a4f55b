"""The staged trainer."""
