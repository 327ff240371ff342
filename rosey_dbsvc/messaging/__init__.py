"""NATS: connection, subscriptions, streams, requests, the embedded server. Knows no database."""
