"""The command ``asyncauth doctor``."""
