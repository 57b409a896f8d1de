"""Sockets: the address that is listened on, and what one connection may hold."""
