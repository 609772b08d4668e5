"""Providers: each knows one system's token endpoint, and nothing else."""
