"""Token requests and their answers, for every provider."""
