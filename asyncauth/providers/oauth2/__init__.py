"""OAuth 2.0: the grants, how a client authenticates, discovery and DPoP."""
