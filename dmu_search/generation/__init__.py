"""What trained networks write: music, text and translations, step by step with a carried state."""
