"""One module per version of the tables, in order: m0001_ledger, …"""
