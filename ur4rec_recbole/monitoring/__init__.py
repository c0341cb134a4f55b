"""Watches a training: observers, rules, findings."""
