"""The command line's larger tools: `embed` and `tokens`.

Words: a record is one text of the input file, with its id; a batch is, here, the records that one
request takes; the journal is what an unfinished run has answered so far.
"""
