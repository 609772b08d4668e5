"""The command line: a demo on loopback, and tokens and requests against the real systems. Needs the extra ``cli``."""
