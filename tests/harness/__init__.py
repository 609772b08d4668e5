"""What is around every test: canaries, blocking calls, what is left behind, and the event loop."""
