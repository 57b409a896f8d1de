"""Training: losses, the encoder, export, and the adapter command."""
