"""What a finished run shows: tables and pictures from its records."""
