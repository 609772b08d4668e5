"""One provider's token: cached, refreshed, shared between tasks, threads, event loops and processes."""
