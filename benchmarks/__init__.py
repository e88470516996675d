"""What is measured of the trainer; see README.md beside this file."""
