"""Evidence: records and printed numbers as tables, verdicts, and the style of every figure."""
