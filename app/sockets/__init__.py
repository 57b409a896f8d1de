"""The listening socket, and the limits of one connection."""
