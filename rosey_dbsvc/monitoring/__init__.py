"""Service discovery (ADR-32), Prometheus metrics and systemd notifications."""
