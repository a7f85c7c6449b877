"""Tours, and routes of vehicles."""
