"""The command ``asyncauth demo``."""
