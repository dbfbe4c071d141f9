"""Status to sentences and tables: one place for the command line, the web page, notifications and reports."""
