"""What ``asyncauth doctor`` looks at. Each check returns findings: what is the case, and what to do about it."""
