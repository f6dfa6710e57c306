"""The command line: words in, screens and exit codes out."""
