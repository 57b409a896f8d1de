"""Training: the embedded model made anew, and adapters of one's own. Not needed for serving."""
