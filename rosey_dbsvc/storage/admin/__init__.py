"""Commands on a database file: backup and maintenance."""
