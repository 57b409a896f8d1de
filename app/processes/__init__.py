"""Processes: how the service's processes start, are restarted, and end."""
