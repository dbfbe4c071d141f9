"""Status to sentences and tables: one place for the command line, the web page, notifications and reports.

Pure, and of Serin it imports `serin.api` only: whoever tells what a deployment does needs neither a cluster nor the
packages of a terminal. It decides nothing and names no strategy: it says what the operator has written.
"""
