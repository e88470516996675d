"""From the published sources of problems to files that training reads: `prorl data prepare`."""
