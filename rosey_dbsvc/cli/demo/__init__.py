"""A simulated channel, to see the service at work."""
