"""From a message to the database and back: dispatcher, writer, queries, barriers, sources."""
