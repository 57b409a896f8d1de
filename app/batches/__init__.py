"""Batch jobs: files of requests that are answered as there is room for them.

store.py, files.py, jobs.py     what there is: SQLite, and files beside it
runner.py, job_run.py           the one that works on jobs, and its work on one of them
routes/                         OpenAI's and Jina's routes over both
"""
