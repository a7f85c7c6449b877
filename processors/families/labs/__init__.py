"""Low-autocorrelation binary sequences."""
