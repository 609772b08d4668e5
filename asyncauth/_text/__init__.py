"""Text that somebody else wrote: shown without control characters, and without secrets."""
