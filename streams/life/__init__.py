"""Processes: workers, their supervisor, the embedded broker, folders, topics."""
