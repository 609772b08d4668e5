"""What the library needs to know of HTTP and of aiohttp."""
