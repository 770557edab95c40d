"""The paper around the method: its experiments, records, tables, claims, figures and the book made from them.

Numbers flow one way: settings -> study -> experiments -> records -> tables, claims, figures -> pages.
"""
