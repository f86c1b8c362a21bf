"""Decisions of notify: no I/O, no clock, no chance; what is needed of those is passed in."""
