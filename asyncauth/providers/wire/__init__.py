"""A token request and its response, for every provider."""
