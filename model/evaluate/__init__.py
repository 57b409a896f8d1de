"""Measures how good a checkpoint or a running service is on JSONL files: `quintet evaluate`."""
