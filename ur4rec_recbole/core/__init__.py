"""Errors, files, configuration, memory, processes: imports nothing else of the package."""
