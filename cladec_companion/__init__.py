"""The companion book: the papers, and the machinery that trains, records, judges and renders them."""
