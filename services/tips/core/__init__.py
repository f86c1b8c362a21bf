"""Decisions: frozen data in, (state, events) out. No I/O, no clock, no random numbers."""
