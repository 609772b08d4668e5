"""Helpers that know nothing of tokens: event loops, and text from elsewhere."""
