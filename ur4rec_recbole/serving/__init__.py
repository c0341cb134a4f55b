"""Serving: recommendations from a trained model, in Python, in batches and over HTTP."""
