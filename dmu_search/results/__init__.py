"""What recorded runs gave, read back; the only source of tables and figures."""
