"""Every event on the wire, public and internal."""
