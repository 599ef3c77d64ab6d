"""What a fleet's commands report: report.json, report.html, the table on a terminal, and how far a command is."""
