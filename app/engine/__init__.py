"""Inference: HTTP processes submit jobs, workers batch and compute them. See README.md."""
