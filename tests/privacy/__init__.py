"""The attacks of the statistics' guarantee, each made with its protection and without it.

Without it an attack must succeed, or the test that it fails with it would say nothing.
"""
