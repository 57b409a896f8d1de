"""Evaluate: how good a checkpoint or a running service is on simple JSONL files.

quintet evaluate --data DIR
"""
