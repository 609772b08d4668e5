"""OAuth 2.0: the grants, client authentication, discovery and DPoP."""
