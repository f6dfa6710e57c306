"""The recurrence in C++, built with the user's own compiler at first use (CPU only)."""
