"""Comprehensible or faithful? The weight of the classification loss, section 6.2, Tables 4 and 5."""
