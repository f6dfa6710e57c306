"""The report: tables, figures and verdicts as values, then as files."""
