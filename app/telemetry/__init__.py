"""Telemetry: metrics, log lines, traces."""
