"""The model: texts -> rows of token ids -> vectors. See README.md in this folder."""
