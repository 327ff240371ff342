"""The way of a message: dispatcher, writer, queries."""
