"""From YAML files and the command line to one frozen, typed configuration: `load.load_config`."""
