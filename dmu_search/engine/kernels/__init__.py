"""Packed rows and the products, losses and loops over them; they know of no cell and no task."""
