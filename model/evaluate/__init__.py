"""Evaluate: how good a checkpoint or a running service is on simple JSONL files.

python -m model.evaluate --model model/mini --data DIR
"""
