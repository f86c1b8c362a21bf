"""How much the attacks try: little in every test run, much by `make privacy`."""

import os

LONG = os.environ.get("IBUURT_PRIVACY_LONG") == "1"
# Neighbouring pairs of worlds, draws of the sampler, and simulated months.
PAIRS = 400_000 if LONG else 20_000
# Of pairs of which everything that is published is made, final editions too.
RECONCILED = 100_000 if LONG else 10_000
DRAWS = 10_000_000 if LONG else 300_000
MONTHS = 12_000 if LONG else 600
# How likely the test of the sampler rings by chance, all that it tries together. The short form runs at every
# change: at the level of the long one it would ring for nothing several times a year.
LEVEL = 0.001 if LONG else 1e-6
# Of processes that close periods.
KILLS = 1_000 if LONG else 8
# Backups of every night of the month, or of some.
EVERY_NIGHT = LONG
# Requests for figures, and blocks of requests whose time is taken.
REQUESTS = 10_000 if LONG else 500
BLOCKS = 100 if LONG else 24
# Week-parts whose release is waited for.
WEEKS = 60 if LONG else 10
# Quarters of the audit end to end, and the areas and categories in each.
AUDITED = (20, 60, 72) if LONG else (1, 20, 24)
