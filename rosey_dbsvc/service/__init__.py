"""The database service and its life cycle."""
