"""Listeners of events: what happens to tokens, for logs, traces, metrics and health checks."""
