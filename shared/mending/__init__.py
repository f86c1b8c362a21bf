"""What an operator does when something broke: each a command, with a dry run and a line of who did it.

A module here is used by the command line (shared/command.py) alone; nothing that runs imports it.
"""
