"""The databases behind the service. Knows no NATS."""
