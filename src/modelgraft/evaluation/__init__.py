"""Numbers a reader can trust: intervals, exact tests, tables and the record of an experiment."""
