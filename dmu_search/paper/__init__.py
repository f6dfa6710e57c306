"""What the paper and its authors' release say: networks, settings, results and claims."""
