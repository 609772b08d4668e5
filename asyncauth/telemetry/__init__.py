"""Listeners of events, for logs, traces, metrics and health checks."""
