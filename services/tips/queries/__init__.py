"""One function per SQL statement, connection first. None commits."""
