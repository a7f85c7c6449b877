"""What every backend must do, as tests that plug-ins run too."""
