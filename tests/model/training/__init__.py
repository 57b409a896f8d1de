"""Training: losses, the student, export, and the adapter command."""
