"""Helpers for HTTP and aiohttp."""
