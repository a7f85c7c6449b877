"""What there is to see: logs and spans."""
