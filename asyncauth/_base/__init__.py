"""Helpers that do not depend on tokens: event loops, forks, and text from other sources."""
