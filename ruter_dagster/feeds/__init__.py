"""The standard feeds of a publication, SIRI-ET and GTFS: the content of their files. Nothing here reads tables or writes files.

Reading what was published belongs in `storage/publications.py`, the store of the files in `storage/feed_files.py`.
"""
