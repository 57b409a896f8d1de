"""Trains adapters, and makes the embedded model: `quintet train`. Not needed for serving."""
