"""NATS: connection, subscriptions, streams, requests. Knows no database."""
