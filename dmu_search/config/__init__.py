"""From the command line and YAML to checked, frozen settings; the only users of Hydra."""
