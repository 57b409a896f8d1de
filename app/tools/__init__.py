"""The command line's tools: `quintet embed`, `tokens`, `bench` and `keys`, and a service to
evaluate.

Terms: a record is one text of the input file, with its id; a request batch is the records that one
request takes; the journal holds what an unfinished run has had answered so far.
"""
