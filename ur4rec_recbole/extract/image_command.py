"""`ur4rec extract image`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(options: argparse.Namespace) -> int:
    """Write the table."""
    return 0
