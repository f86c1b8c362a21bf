"""What the benches measure against, written the usual way."""
