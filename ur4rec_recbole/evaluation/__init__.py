"""Protocols, candidates, subsets of targets and paired statistics."""
