"""Everything that goes over the wire. No I/O."""
