"""One module per version of the tables, in order: m0002_usage, …"""
