"""What there is to see: logs, spans and metrics."""
